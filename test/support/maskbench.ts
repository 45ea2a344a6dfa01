/**
 * @file MaskBench: published schemas with instances that a grammar must take and refuse. The schemas have many owners
 * and are no part of this project; only the names of those that pass are kept (test/fixtures/maskbench.json), and none
 * of them may fail later.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileFormat } from '../../src/grammar/format.ts';
import { FormatError } from '../../src/util/errors.ts';

export const RATCHET = join(import.meta.dirname, '../fixtures/maskbench.json');

interface BenchCase {
  readonly schema: boolean | Record<string, unknown>;
  readonly tests?: readonly { readonly valid: boolean; readonly data: unknown }[];
}

export type Outcome = 'passed' | 'refused' | 'rejectsValid' | 'acceptsInvalid' | 'failed';

export interface BenchResult {
  readonly name: string;
  readonly outcome: Outcome;
  readonly compileMs: number;
  /** The instance that was judged wrongly, or the error. */
  readonly detail: string;
}

/** @param folder maskbench/data of guidance-ai/jsonschemabench. @param every one of so many schemas is taken. */
export function* maskBench(folder: string, every = 1): Generator<BenchResult> {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort();
  for (const [i, file] of files.entries()) if (i % every === 0) yield judge(folder, file);
}

/** Strings of JSON, to pass over them, and numbers. */
const NUMBERS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const MARK = '\u0001';

/** An instance is written as it is in the file: 5.0 is no integer of draft 4, and JSON.parse makes 5 of it. */
const withNumbersKept = (part: string): string => (part.startsWith('"') ? part : JSON.stringify(MARK + part));

const textOf = (data: unknown): string => JSON.stringify(data).replace(/"\\u0001([^"]*)"/g, '$1');

function judge(folder: string, file: string): BenchResult {
  const text = readFileSync(join(folder, file), 'utf8');
  const { schema } = JSON.parse(text) as BenchCase;
  const { tests = [] } = JSON.parse(text.replace(NUMBERS, withNumbersKept)) as BenchCase;
  const name = file.replace('.json', '');
  const start = performance.now();
  let compileMs = Number.NaN;
  try {
    const machine = compileFormat({ type: 'json_schema', schema });
    compileMs = performance.now() - start;
    const wrong = tests.filter(({ valid, data }) => {
      const end = machine.run(machine.start, new TextEncoder().encode(textOf(data)));
      return (end?.complete ?? false) !== valid;
    });
    if (wrong.length === 0) return { name, outcome: 'passed', compileMs, detail: '' };
    const outcome = wrong.some(({ valid }) => !valid) ? 'acceptsInvalid' : 'rejectsValid';
    return { name, outcome, compileMs, detail: textOf(wrong[0].data).slice(0, 200) };
  } catch (error) {
    const took = Number.isNaN(compileMs) ? performance.now() - start : compileMs;
    if (error instanceof FormatError) return { name, outcome: 'refused', compileMs: took, detail: error.message };
    return { name, outcome: 'failed', compileMs: took, detail: String((error as Error).stack) };
  }
}
