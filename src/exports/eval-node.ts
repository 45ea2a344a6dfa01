/**
 * @file `keyhold/eval` in Node: the same as in browsers, and PNG files.
 */

export { plotPng } from '../eval/plot-png-node.ts';
export * from './eval.ts';
