// An application's table and enum.
const { integer, pgEnum, pgTable } = require('drizzle-orm/pg-core');

const state = pgEnum('state', ['open', 'closed']);
exports.state = state;
exports.orders = pgTable('orders', { id: integer().primaryKey(), state: state() });
