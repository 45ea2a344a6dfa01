/**
 * @file `npm run maskbench -- FOLDER [--every N] [--update]`: how many published schemas are compiled, and whether their instances are taken
 * and refused rightly. FOLDER holds maskbench/data of guidance-ai/jsonschemabench, whose schemas have many owners and are no part of this
 * project: only names of schemas are kept (test/fixtures/maskbench.json). No schema that passed before may fail.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { compileFormat } from '../src/grammar/format.ts';
import { FormatError } from '../src/util/errors.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    every: { type: 'string', default: '1' },
    update: { type: 'boolean', default: false },
    list: { type: 'boolean' },
  },
});
const folder = positionals[0];
if (!folder) throw new Error('usage: npm run maskbench -- FOLDER [--every N] [--update]');
const RATCHET = join(import.meta.dirname, 'fixtures/maskbench.json');

interface BenchCase {
  readonly schema: boolean | Record<string, unknown>;
  readonly tests?: readonly { readonly valid: boolean; readonly data: unknown }[];
}

const files = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .sort()
  .filter((_, i) => i % Number(values.every) === 0);
const counts = { passed: 0, refused: 0, rejectsValid: 0, acceptsInvalid: 0, failed: 0 };
const reasons = new Map<string, number>();
const passed: string[] = [];
const times: number[] = [];
for (const file of files) {
  const { schema, tests = [] } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as BenchCase;
  const name = file.replace('.json', '');
  const start = performance.now();
  try {
    const machine = compileFormat({ type: 'json_schema', schema });
    times.push(performance.now() - start);
    const wrong = tests.filter(({ valid, data }) => {
      const end = machine.run(machine.start, new TextEncoder().encode(JSON.stringify(data)));
      return (end?.complete ?? false) !== valid;
    });
    if (wrong.length === 0) {
      counts.passed++;
      passed.push(name);
      continue;
    }
    const kind = wrong.some(({ valid }) => !valid) ? 'acceptsInvalid' : 'rejectsValid';
    counts[kind]++;
    if (values.list) console.log(kind, name, JSON.stringify(wrong[0].data).slice(0, 200));
  } catch (error) {
    times.push(performance.now() - start);
    counts[error instanceof FormatError ? 'refused' : 'failed']++;
    const message = (error as Error).message;
    if (!(error instanceof FormatError)) console.log('FAILED', name, (error as Error).stack);
    const reason = message
      .replace(/^format\.schema( at \S+)?: /, '')
      .replace(/"[^"]*"/g, '…')
      .replace(/\d+/g, 'N')
      .slice(0, 110);
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
}
times.sort((a, b) => a - b);
const share = ((100 * counts.passed) / files.length).toFixed(1);
console.log(`${files.length} schemas: ${share} % pass`, counts);
const at = (part: number) => times[Math.floor(times.length * part)].toFixed(1);
console.log(`compile: p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms, most ${times.at(-1)!.toFixed(1)} ms`);
for (const [reason, count] of [...reasons].sort((a, b) => b[1] - a[1]).slice(0, 40))
  console.log(String(count).padStart(5), reason);

const known: readonly string[] = existsSync(RATCHET) ? JSON.parse(readFileSync(RATCHET, 'utf8')) : [];
const now = new Set(passed);
const tried = new Set(files.map((file) => file.replace('.json', '')));
const lost = known.filter((name) => tried.has(name) && !now.has(name));
if (values.update) writeFileSync(RATCHET, `${JSON.stringify([...new Set([...known, ...passed])].sort())}\n`);
if (lost.length > 0) console.log(`passed before and fail now: ${lost.join(' ')}`);
if (lost.length > 0 || counts.failed > 0) process.exitCode = 1;
