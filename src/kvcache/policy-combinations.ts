/**
 * @file Policies made of others, as functions: of included ones, and of one's own.
 */
import { type AnyPolicy, asChoice } from './policies.ts';
import { combine } from './policy/combine.ts';
import type { PolicyChoice } from './policy/policy.ts';

/**
 * Ranks slots by the sum of the ranks that several policies give them.
 * @throws InputError for policies without scores of each group.
 */
export function mix(...policies: readonly AnyPolicy[]): PolicyChoice {
  return combine('mix', policies.map(asChoice));
}

/**
 * The query groups of a layer share its budget by the policy's scores.
 * @throws InputError for a policy without scores of each group.
 */
export function ada(policy: AnyPolicy): PolicyChoice {
  return combine('ada', [asChoice(policy)]);
}
