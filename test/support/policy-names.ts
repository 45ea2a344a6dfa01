/**
 * @file The policies of the table by what they need, so that a new one is in every test without a word.
 */
import type { BufferKind } from '../../src/kvcache/buffers.ts';
import { createCache, POLICIES, wantsTable } from '../../src/kvcache/policies.ts';
import type { CalibrationTable } from '../../src/kvcache/routing/calibration-table.ts';
import { InputError } from '../../src/util/errors.ts';
import { fakeShape } from './fake-model.ts';

const shape = fakeShape({ windows: [null], groups: 2, heads: 1, headSize: 32 });

/** Whether a cache can be made with a budget, a buffer and nothing else. */
function isMade(policy: string, buffer: BufferKind, ada: boolean): boolean {
  try {
    createCache(shape, { policy, cacheLength: 16, buffer, ...(ada ? { ada } : {}) });
    return true;
  } catch (error) {
    if (error instanceof InputError) return false;
    throw error;
  }
}

/** Those that take a `cacheLength` and nothing else. */
export const PLAIN_POLICIES = Object.keys(POLICIES).filter((name) => isMade(name, 'float32', false));

/** Those that evict, and need no calibration; some want a quantized buffer. */
export const EVICTING_POLICIES = Object.keys(POLICIES).filter(
  (name) => name !== 'dense' && isMade(name, 'int8', false),
);

/** Those whose groups can share the budget of a layer. */
export const SHARING_POLICIES = EVICTING_POLICIES.filter((name) => isMade(name, 'int8', true));

/** Those that want a quantized buffer. */
const QUANTISED_POLICIES = EVICTING_POLICIES.filter((name) => !PLAIN_POLICIES.includes(name));

/** A cache of any policy of the table, in a buffer that it takes, for texts of up to 64 tokens. */
export function anyCache(policy: string, cacheLength: number, table: CalibrationTable) {
  return {
    policy,
    buffer: QUANTISED_POLICIES.includes(policy) ? ('int8' as const) : ('float32' as const),
    cacheLength: policy === 'dense' ? 64 : cacheLength,
    ...(wantsTable({ policy }) ? { table } : {}),
  };
}
