// For tests/cluster/migrations.rs, which sets the variables.
module.exports = {
  dialect: 'postgresql',
  schema: './drizzle.schema.js',
  out: process.env.OUT,
  dbCredentials: { host: process.env.PGHOST, port: 5432, user: 'postgres', database: process.env.PGDATABASE, ssl: false },
};
