/**
 * @file `npm run maskbench -- FOLDER [--every N] [--update] [--list]`: how many schemas of MaskBench are compiled, and
 * whether their instances are taken and refused rightly. No schema that passed before may fail. FOLDER holds
 * maskbench/data of guidance-ai/jsonschemabench.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type BenchResult, maskBench, type Outcome, RATCHET } from './support/maskbench.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    every: { type: 'string', default: '1' },
    update: { type: 'boolean', default: false },
    list: { type: 'boolean' },
  },
});
const folder = positionals[0];
if (!folder) throw new Error('usage: npm run maskbench -- FOLDER [--every N] [--update] [--list]');

const counts: Record<Outcome, number> = { passed: 0, refused: 0, rejectsValid: 0, acceptsInvalid: 0, failed: 0 };
const reasons = new Map<string, number>();
const results: BenchResult[] = [];
for (const result of maskBench(folder, Number(values.every))) {
  const { name, outcome, detail } = result;
  results.push(result);
  counts[outcome]++;
  if (outcome === 'failed') console.log('FAILED', name, detail);
  else if (values.list && outcome.endsWith('alid')) console.log(outcome, name, detail);
  if (outcome !== 'refused') continue;
  const reason = detail
    .replace(/^format\.schema( at \S+)?: /, '')
    .replace(/"[^"]*"/g, '…')
    .replace(/\d+/g, 'N')
    .slice(0, 110);
  reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
}
const times = results.map(({ compileMs }) => compileMs).sort((a, b) => a - b);
console.log(`${results.length} schemas: ${((100 * counts.passed) / results.length).toFixed(1)} % pass`, counts);
const at = (part: number) => times[Math.floor(times.length * part)].toFixed(1);
console.log(`compile: p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms, most ${times.at(-1)!.toFixed(1)} ms`);
for (const [reason, count] of [...reasons].sort((a, b) => b[1] - a[1]).slice(0, 40))
  console.log(String(count).padStart(5), reason);

const known: readonly string[] = existsSync(RATCHET) ? JSON.parse(readFileSync(RATCHET, 'utf8')) : [];
const passed = results.filter(({ outcome }) => outcome === 'passed').map(({ name }) => name);
const lost = results.filter(({ name, outcome }) => outcome !== 'passed' && known.includes(name));
if (values.update) writeFileSync(RATCHET, `${JSON.stringify([...new Set([...known, ...passed])].sort())}\n`);
if (lost.length > 0) console.log(`passed before and fail now: ${lost.map(({ name }) => name).join(' ')}`);
if (lost.length > 0 || counts.failed > 0 || counts.acceptsInvalid > 0) process.exitCode = 1;
