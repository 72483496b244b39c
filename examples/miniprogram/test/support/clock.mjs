// Time that tests move: `setTimeout`, `setInterval` and `Date.now` of everything that runs here.

const settle = async () => {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

export class Clock {
  constructor() {
    this.now = 1_795_172_800_000;
    this.timers = new Map();
    this.last = 0;
    const add =
      (every) =>
      (run, delay = 0) => {
        this.timers.set(++this.last, { run, at: this.now + delay, every: every && delay });
        return this.last;
      };
    const remove = (id) => this.timers.delete(id);
    Object.assign(globalThis, {
      setTimeout: add(false),
      setInterval: add(true),
      clearTimeout: remove,
      clearInterval: remove,
    });
    Date.now = () => this.now;
  }

  /** Lets this much time pass, and everything happen that falls due. */
  async pass(milliseconds) {
    const end = this.now + milliseconds;
    for (;;) {
      const due = [...this.timers].filter(([, timer]) => timer.at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [id, timer] = due;
      this.now = timer.at;
      if (timer.every) timer.at += timer.every;
      else this.timers.delete(id);
      timer.run();
      await settle();
    }
    this.now = end;
    await settle();
  }
}
