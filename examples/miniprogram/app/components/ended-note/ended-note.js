// How it ended: confirmed, cancelled, undone, expired, failed. Tells `undo`, `again`, `rescan`, `close`.
Component({
  properties: {
    texts: { type: Object, value: {} },
    ended: { type: Object, value: {} },
    canReturn: { type: Boolean, value: false },
    returned: { type: String, value: "" },
  },
  data: { backFailed: false },

  methods: {
    onUndo() {
      this.triggerEvent("undo");
    },
    onAgain() {
      this.triggerEvent("again");
    },
    onRescan() {
      this.triggerEvent("rescan");
    },
    onClose() {
      this.triggerEvent("close");
    },
    /** "invalid scene": WeChat has forgotten which application it was. It polls the gateway anyway. */
    onBackFailed() {
      this.setData({ backFailed: true });
    },
  },
});
