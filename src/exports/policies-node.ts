/**
 * @file `keyhold/policies` in Node: the same as in browsers.
 */
export * from './policies.ts';
