// The sample projection of orders as a program of its own: `-p "cmd:node orders.js"`.
// It speaks refold's worker protocol, version 1, which ../protocol.md describes.

const documents = new Map();

const handlers = {
  ItemAdded(order, { sku, qty, price }) {
    order.items[sku] ??= { qty: 0, price };
    order.items[sku].qty += qty;
    order.total = goods(order);
  },
  ItemRemoved(order, { sku, qty }) {
    order.items[sku].qty -= qty;
    if (order.items[sku].qty <= 0) delete order.items[sku];
    order.total = goods(order);
  },
  OrderPlaced(order, { total, shipping = 0, currency = "EUR" }) {
    Object.assign(order, { status: "placed", total, shipping, currency });
  },
  PaymentCaptured(order, { amount }) {
    order.paid = added(order.paid, amount);
    if (order.status === "placed") order.status = "paid";
  },
  RefundIssued(order, { amount }) {
    order.refunded = added(order.refunded, amount);
    if (order.refunded >= order.paid) order.status = "refunded";
  },
  OrderShipped(order, { tracking }) {
    Object.assign(order, { status: "shipped", tracking });
  },
  OrderCancelled(order, { reason }) {
    Object.assign(order, { status: "cancelled", reason });
  },
};

const cents = (amount) => Math.round(amount * 100) / 100;
const added = (sum, amount) => {
  if (typeof amount !== "number") throw new TypeError(`the amount ${amount} is no number`);
  return cents(sum + amount);
};
const goods = (order) =>
  cents(Object.values(order.items).reduce((sum, item) => sum + item.qty * item.price, 0));
const created = (key) => ({
  order: key, status: "cart", items: {}, total: 0, shipping: 0, currency: "EUR", paid: 0, refunded: 0,
});

function handled({ offset, type, stream, data }) {
  if (!Object.hasOwn(handlers, type)) return { offset, skipped: true };
  const before = documents.get(stream);
  const order = before ? structuredClone(before) : created(stream);
  try {
    handlers[type](order, data);
  } catch (error) {
    return { offset, key: stream, error: String(error), traceback: error.stack };
  }
  documents.set(stream, order);
  return { offset, changes: { [stream]: order } };
}

const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.refold) say({ ready: 1, runtime: `node ${process.version}` });
  else if (message.document !== undefined) documents.set(message.document, message.state);
  else say(handled(message.event));
});
