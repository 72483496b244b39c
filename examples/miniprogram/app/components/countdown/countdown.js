// How long the code is still good for. Tells `over`, once. It is not read out by itself: that would be every second.
const { fill } = require("../../lib/texts/index");

Component({
  properties: { until: { type: Number, value: 0 }, text: { type: String, value: "" } },
  data: { words: "" },

  observers: {
    until() {
      this.told = false;
      this.tick();
    },
  },
  lifetimes: {
    attached() {
      this.timer = setInterval(() => this.tick(), 1000);
    },
    detached() {
      clearInterval(this.timer);
    },
  },

  methods: {
    tick() {
      const left = Math.max(0, Math.ceil((this.data.until - Date.now()) / 1000));
      const time = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      const words = fill(this.data.text, { time });
      if (words !== this.data.words) this.setData({ words });
      if (left > 0 || this.told) return;
      this.told = true;
      this.triggerEvent("over");
    },
  },
});
