App({
  onLaunch() {
    // A new version is used at the next cold start anyway. Sooner only where nobody is in the middle of a login.
    const manager = wx.getUpdateManager && wx.getUpdateManager();
    if (manager) manager.onUpdateReady(() => (this.update = () => manager.applyUpdate()));
  },

  /** The scene that the camera read inside the mini program: kept here, where no link from outside can put one. */
  scanned: "",
});
