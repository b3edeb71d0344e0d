// expected.mjs: the ids of @huggingface/tokenizers, which stand in expected.json.
//
//     node tests/tokenizers/expected.mjs FOLDER PACKAGE
//
// FOLDER is what make.py wrote; PACKAGE the path of node_modules/@huggingface/tokenizers. Prints
// {"name": [[ids of text 0], ...], ...}.
import fs from "node:fs";
import path from "node:path";
const [folder, pack] = process.argv.slice(2);
const { Tokenizer } = await import(path.resolve(pack, "dist/tokenizers.mjs"));
const out = {};
for (const name of fs.readdirSync(folder).sort()) {
  const file = path.join(folder, name, "tokenizer.json");
  if (!fs.existsSync(file)) continue;
  const t = new Tokenizer(JSON.parse(fs.readFileSync(file, "utf8")), {});
  const raw = fs.readFileSync(path.join(folder, name, "texts"));
  out[name] = [];
  for (let at = 0; at < raw.length; ) {
    const end = raw.indexOf(10, at), n = Number(raw.subarray(at, end));
    out[name].push(t.encode(raw.subarray(end + 1, end + 1 + n).toString("utf8"), { add_special_tokens: false }).ids);
    at = end + 1 + n;
  }
}
console.log(JSON.stringify(out));
