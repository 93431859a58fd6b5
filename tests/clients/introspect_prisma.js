// What `prisma db pull` sees of the database that libpq's variables name: the schema that Prisma's own engine writes.
// The engine is its WebAssembly build, which npm has; it talks through Prisma's adapter of node-postgres.
const fs = require("node:fs");
const pg = require("pg");
const { PrismaPg } = require("@prisma/adapter-pg");
const { bindMigrationAwareSqlAdapterFactory } = require("@prisma/driver-adapter-utils");

const schema = `
datasource db {
  provider = "postgresql"
  schemas  = ["public", "other"]
}
generator client {
  provider        = "prisma-client"
  previewFeatures = ["views"]
}`;

// The adapter does not know the type "char" of the catalogs, which the engine reads as text.
for (const type of [pg.Client, pg.Pool]) {
  const query = type.prototype.query;
  type.prototype.query = function (...args) {
    const result = query.apply(this, args);
    return typeof result?.then !== "function" ? result : result.then((found) => {
      (found.fields ?? []).filter((field) => field.dataTypeID === 18).forEach((field) => (field.dataTypeID = 25));
      return found;
    });
  };
}

async function main() {
  const path = require.resolve("@prisma/schema-engine-wasm/schema_engine_bg");
  const engine = await import(path);
  const code = new WebAssembly.Module(fs.readFileSync(path.replace(/\.js$/, ".wasm")));
  const { exports } = new WebAssembly.Instance(code, { "./schema_engine_bg.js": engine });
  engine.__wbg_set_wasm(exports);
  exports.__wbindgen_start();

  const { PGHOST: host, PGPORT: port, PGUSER: user, PGPASSWORD: password, PGDATABASE: database } = process.env;
  const adapter = new PrismaPg({ host, port: Number(port), user, password, database });
  const files = [{ path: "schema.prisma", content: schema }];
  const options = { datamodels: files.map(({ path, content }) => [path, content]) };
  const pulled = await engine.SchemaEngine.new(options, () => {}, bindMigrationAwareSqlAdapterFactory(adapter));
  const found = await pulled.introspect({
    schema: { files }, baseDirectoryPath: "/", force: true, compositeTypeDepth: -1, namespaces: ["public", "other"],
  });
  // A line a block of the schema: a model, an enum, a view, with all that is said of it.
  for (const block of found.schema.files[0].content.split(/\n\n(?=\S)/)) {
    console.log(block.trim().replaceAll(/\s*\n\s*/g, " | "));
  }
  for (const view of found.views ?? []) console.log(`view ${JSON.stringify(view)}`);
  console.log(`warnings ${JSON.stringify(found.warnings)}`);
  const client = new pg.Client({ host, port: Number(port), user, password, database });
  await client.connect();
  for (const row of (await client.query("SELECT * FROM public.items")).rows) console.log(`row ${JSON.stringify(row)}`);
  await client.end();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
