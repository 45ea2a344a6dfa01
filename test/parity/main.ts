/**
 * @file `npm run parity -- DIR [--models DIR] [--only TEXT] [--engine ggml|onnx] [--device NAME] [--json]`: compares
 * all cases below DIR with their golden values.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type CaseReport, findCases, runCase } from './walk.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    models: { type: 'string', multiple: true, default: [] },
    only: { type: 'string' },
    engine: { type: 'string' },
    device: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});

if (values.engine) process.env.KEYHOLD_ENGINE = values.engine;
if (values.device) process.env.KEYHOLD_DEVICE = values.device;
const roots = positionals.length > 0 ? positionals : ['test/fixtures'];
const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-parity-'));
process.once('SIGINT', async () => {
  await rm(cacheDir, { recursive: true, force: true });
  process.exit(130);
});
const reports: CaseReport[] = [];
try {
  for (const root of roots) {
    const cases = (await findCases(root)).filter(({ name }) => !values.only || name.includes(values.only));
    for (const found of cases) {
      const report = await runCase(found, { cacheDir, models: values.models });
      reports.push(report);
      if (!values.json) console.log(line(report));
    }
  }
} finally {
  await rm(cacheDir, { recursive: true, force: true });
}
const failed = reports.filter((report) => !report.passed).length;
if (values.json) console.log(JSON.stringify(reports, null, 1));
else {
  if (reports.length === 0) console.error(`no cases found in ${roots.join(', ')}`);
  console.log(`${reports.length - failed} passed, ${failed} failed`);
}
process.exitCode = failed > 0 || reports.length === 0 ? 1 : 0;

function line({ name, passed, error, message }: CaseReport): string {
  const size = error === null ? '       -' : error.toExponential(1).padStart(8);
  return `${passed ? 'ok  ' : 'FAIL'} ${name.padEnd(28)} ${size}  ${message}`;
}
