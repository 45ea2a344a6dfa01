/**
 * @file The names of works.
 */
import { BUFFERS, type BufferKind } from '../src/exports/policies.ts';
import { BATCH_HELD, OPEN_TOKENS, SPARE_TOKENS, type Work } from './protocol.ts';

export const WORK_FORMS =
  'prefill-<tokens>, prompt-<tokens>[/<budget>], decode-<tokens held>[/<budget>], batch-<rows>, open; with @<buffer>';

const NUMBERED = ['prefill', 'prompt', 'decode', 'batch'] as const;
const WITH_BUDGET: readonly string[] = ['prompt', 'decode'];

/** @throws Error for a name that says no work. */
export function parseWork(name: string): Work {
  if (name === 'open') return { kind: 'open', tokens: OPEN_TOKENS, rows: 1 };
  const fail = (why: string): never => {
    throw new Error(`'${name}' is no work: ${why}. There are ${WORK_FORMS}.`);
  };
  const parts = /^([a-z]+)-(\d+)(?:\/(\d+))?(?:@(.+))?$/.exec(name);
  if (!parts) return fail('it is not written as one');
  const [, word, count, slots, buffer] = parts;
  const kind = NUMBERED.find((known) => known === word) ?? fail(`nothing is called ${word}`);
  if (slots !== undefined && !WITH_BUDGET.includes(kind)) fail(`${kind} has no budget`);
  if (buffer !== undefined && !Object.hasOwn(BUFFERS, buffer))
    fail(`the buffers are ${Object.keys(BUFFERS).join(', ')}`);
  const budget = slots === undefined ? undefined : Number(slots);
  const number = Number(count);
  if (number === 0 || budget === 0) fail('numbers count from 1');
  const batch = kind === 'batch';
  return { kind, tokens: batch ? BATCH_HELD : number, rows: batch ? number : 1, budget, buffer: buffer as BufferKind };
}

/** Positions that a model must have for a work. */
export function positionsOf(work: Work): number {
  return work.tokens + SPARE_TOKENS;
}
