// The number that the other screen shows: chosen, typed, or not asked for. Tells `chosen` with `{value}`.
Component({
  properties: { texts: { type: Object, value: {} }, number: { type: Object, value: {} } },
  data: { typed: "" },

  methods: {
    onChoose({ currentTarget }) {
      this.triggerEvent("chosen", { value: Number(currentTarget.dataset.value) });
    },
    onType({ detail }) {
      this.setData({ typed: detail.value });
    },
    onTyped() {
      if (TWO_DIGITS.test(this.data.typed)) this.triggerEvent("chosen", { value: Number(this.data.typed) });
    },
    onAgree() {
      this.triggerEvent("chosen", {});
    },
  },
});

const TWO_DIGITS = /^[0-9]{2}$/;
