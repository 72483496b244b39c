// What went wrong, and the way on. The request id can be selected and copied by hand: the clipboard is private data to
// WeChat, and would have to be declared.
Component({
  properties: {
    texts: { type: Object, value: {} },
    problem: { type: Object, value: {} },
    canRepeat: { type: Boolean, value: false },
  },
  methods: {
    onAgain() {
      this.triggerEvent("again");
    },
  },
});
