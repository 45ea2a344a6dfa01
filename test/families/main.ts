/**
 * @file `npm run families [-- --write] [--only NAME,NAME]`: runs each family's cases alone, one line a family, with a
 * log of each, and goes on after a failure. Checks docs/families.md against what was measured, or writes it; with
 * `--only`, the other families keep their rows.
 */
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { familyCases } from './cases.ts';
import type { FamilyReport } from './one.ts';
import { refusedOptions } from './refusals.ts';
import { differences, supportPage } from './table.ts';

const ROOT = join(import.meta.dirname, '../..');
const LOGS = join(ROOT, '.tmp/families');
const PAGE = join(ROOT, 'docs/families.md');

const { values } = parseArgs({
  options: { write: { type: 'boolean', default: false }, only: { type: 'string' } },
});

/** Runs one family in a process of its own. */
async function run(name: string): Promise<FamilyReport | null> {
  const log = createWriteStream(join(LOGS, `${name}.log`));
  const child = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'one.ts'), name], { cwd: ROOT });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    log.write(text);
  });
  child.stderr.on('data', (text) => log.write(text));
  const code = await new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  await new Promise<void>((resolve) => {
    log.end(resolve);
  });
  return code === 0 ? JSON.parse(output.trimEnd().split('\n').at(-1)!) : null;
}

function line(name: string, report: FamilyReport | null): string {
  const place = `.tmp/families/${name}.log`;
  if (!report) return `FAIL ${name.padEnd(20)} did not end; ${place}`;
  const failed = report.cases.filter(({ passed }) => !passed).map((one) => one.name);
  const share = (value: number | null) => (value === null ? '   -' : `${(100 * value).toFixed(0).padStart(3)}%`);
  return [
    `${report.passed ? 'ok  ' : 'FAIL'} ${name.padEnd(20)} ${String(report.cases.length).padStart(2)} cases`,
    report.error.toExponential(1),
    `int8 ${share(report.agreement.int8)}  int4 ${share(report.agreement.int4)}`,
    failed.length > 0 ? `failed: ${failed.join(', ')}; ${place}` : place,
  ].join('  ');
}

await mkdir(LOGS, { recursive: true });
const only = values.only?.split(',');
const reports: FamilyReport[] = [];
let failures = 0;
for (const { name } of familyCases()) {
  if (only && !only.includes(name)) continue;
  const report = await run(name);
  console.log(line(name, report));
  if (!report?.passed) failures++;
  if (report) reports.push(report);
}
if (reports.length === 0 && failures === 0) {
  console.error(`there is no family ${values.only}`);
  failures++;
}
if (failures === 0) {
  const before = await readFile(PAGE, 'utf8').catch(() => '');
  const page = supportPage(reports, refusedOptions(), only ? before : '');
  if (values.write) await writeFile(PAGE, page);
  else {
    const found = differences(before, page);
    for (const text of found) console.error(`docs/families.md ${text}`);
    if (found.length > 0) console.error('docs/families.md is not what was measured: npm run families -- --write');
    failures += found.length;
  }
}
console.log(`${reports.filter(({ passed }) => passed).length} passed, ${failures} failed`);
process.exitCode = failures > 0 ? 1 : 0;
