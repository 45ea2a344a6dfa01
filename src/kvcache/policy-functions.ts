/**
 * @file Policies as functions of their own options: `createCache({ cacheLength: 512, policy: h2o({ recent: 16 }) })`.
 */
import { checkOptionNames } from '../util/option-names.ts';
import { dense as denseRow } from './policies/dense.ts';
import { echo as echoRow } from './policies/echo.ts';
import { echoKeyDiff as echoKeyDiffRow } from './policies/echo-keydiff.ts';
import { expectedAttention } from './policies/expected.ts';
import { h2oOriginal, h2o as h2oRow } from './policies/h2o.ts';
import { h2oEcho as h2oEchoRow } from './policies/h2o-echo.ts';
import { h2oMax as h2oMaxRow } from './policies/h2o-max.ts';
import { valueLengthH2O } from './policies/h2o-vlen.ts';
import { keyDiff } from './policies/keydiff.ts';
import { keyNorm } from './policies/knorm.ts';
import { lastRecent } from './policies/last-recent.ts';
import { leverage as leverageRow } from './policies/leverage.ts';
import { merge as mergeRow } from './policies/merge.ts';
import { pyramidKV } from './policies/pyramid.ts';
import { quantizedH2O } from './policies/qh2o.ts';
import { routed as routedRow } from './policies/routed.ts';
import { snapKV } from './policies/snapkv.ts';
import { tova as tovaRow } from './policies/tova.ts';
import { type AnyPolicy, asChoice, type PolicyOptions } from './policies.ts';
import { combine } from './policy/combine.ts';
import type { PolicyChoice, PolicyEntry } from './policy/policy.ts';

/** A function that checks options of a policy by their names, and keeps them with it. */
function choiceOf(entry: PolicyEntry): (options?: Partial<PolicyOptions>) => PolicyChoice {
  return (options = {}) => withOptions({ entry, options: {} }, options);
}

function withOptions({ entry, options: own }: PolicyChoice, options: Partial<PolicyOptions>): PolicyChoice {
  const known = Object.fromEntries(Object.keys(entry.options).map((name) => [name, true as const]));
  checkOptionNames(`the policy ${entry.name}`, options, known);
  return { entry, options: { ...own, ...options } };
}

/** Keeps everything, and says when it is full. */
export const dense = choiceOf(denseRow);
/** Keeps the first tokens (attention sinks) and the most recent ones. */
export const lastrec = choiceOf(lastRecent);
/** Keeps the first tokens and the most recent ones, and merges those between. */
export const merge = choiceOf(mergeRow);
/** Keeps tokens with the largest sums of attention weights. */
export const h2o = choiceOf(h2oRow);
/** `h2o` as published: not normalized, half of the budget recent. */
export const h2oOrig = choiceOf(h2oOriginal);
/** Keeps tokens with the largest attention weight that any query has paid. */
export const h2oMax = choiceOf(h2oMaxRow);
/** `h2o` times `echo`, by chunks of several tokens only. */
export const h2oEcho = choiceOf(h2oEchoRow);
/** `h2o`, each weight times the length of the value. */
export const h2oVlen = choiceOf(valueLengthH2O);
/** `h2o`, less the error of quantized slots. */
export const qh2o = choiceOf(quantizedH2O);
/** Keeps tokens that their chunk, or a later one, would attend to if it were read once more. */
export const echo = choiceOf(echoRow);
/** Keeps tokens that their chunk would attend to if it were read once more, and whose keys differ from the others. */
export const echoKeydiff = choiceOf(echoKeyDiffRow);
/** Keeps tokens that the last query attended to most. */
export const tova = choiceOf(tovaRow);
/** Keeps tokens that the end of the prompt attended to most. */
export const snapkv = choiceOf(snapKV);
/** `snapkv` with budgets that get smaller from layer to layer. */
export const pyramid = choiceOf(pyramidKV);
/** Keeps tokens that future queries are expected to attend to. */
export const expected = choiceOf(expectedAttention);
/** Keeps tokens whose keys have a small norm. */
export const knorm = choiceOf(keyNorm);
/** Keeps tokens whose keys differ from the mean of all keys. */
export const keydiff = choiceOf(keyDiff);
/** Keeps tokens whose keys the others can't stand for. */
export const leverage = choiceOf(leverageRow);
/**
 * Gives most slots to the query groups that read the past, as a calibration of the model says: the policy `echo` for
 * them, and `merge` for the others.
 */
export function routed(options?: Partial<PolicyOptions>): PolicyChoice;
/**
 * The same with other policies.
 * @param retrieval the policy of groups that read the past: a name, one of your own, or one of these functions' results.
 * @param local the policy of the others.
 */
export function routed(retrieval: AnyPolicy, local: AnyPolicy, options?: Partial<PolicyOptions>): PolicyChoice;
export function routed(
  first: AnyPolicy | Partial<PolicyOptions> = {},
  local?: AnyPolicy,
  options: Partial<PolicyOptions> = {},
): PolicyChoice {
  if (local === undefined) return choiceOf(routedRow)(first as Partial<PolicyOptions>);
  return withOptions(combine('routed', [asChoice(first as AnyPolicy), asChoice(local)]), options);
}
