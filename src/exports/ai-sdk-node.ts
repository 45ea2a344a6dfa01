/**
 * @file `keyhold/ai-sdk` in Node: the same as in browsers.
 */
export * from './ai-sdk.ts';
