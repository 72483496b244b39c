// What is being logged in to, and from where.
Component({
  properties: { card: { type: Object, value: null } },
});
