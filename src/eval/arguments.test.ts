/**
 * What the functions of keyhold/eval say of arguments that are none of what they take.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { refusals, refused, WRONG } from '../../test/support/refusals.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import {
  compare,
  comparisonCells,
  comparisonMarkdown,
  meanInterval,
  parsePassages,
  parseRecallCases,
  plotCalibration,
  plotComparison,
  plotPng,
  recall,
  ruler,
  rulerCases,
  searchSpeed,
} from '../exports/eval-node.ts';
import { loadModel } from '../load/load-model-node.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel('keyhold/tiny', { threads: 1 });
});
afterAll(() => model.dispose());

const unset = undefined as never;
const NO_CHOICES = { threads: [], weights: [], chunkLength: [], buffer: [] };

describe('a wrong argument is told with the function that it was given to', () => {
  it.each<[string, (value: never) => unknown]>([
    ['parseRecallCases needs lines of JSON as a string', (text) => parseRecallCases(text)],
    ['parsePassages needs lines of JSON as a string', (text) => parsePassages(text)],
    ['plotPng needs an SVG document as a string', (svg) => plotPng(svg)],
    ['meanInterval needs a list of numbers', (values) => meanInterval(values)],
    ['recall needs a list of recall cases, as parseRecallCases gives it', (cases) => recall(model, cases)],
    ['comparisonCells needs a list of results, as compare gives it', (results) => comparisonCells(results)],
    ['comparisonMarkdown needs a list of results, as compare gives it', (results) => comparisonMarkdown(results)],
    ['plotComparison needs a list of results, as compare gives it', (results) => plotComparison(results)],
    ['searchSpeed needs threads to try as a list', (threads) => searchSpeed({} as never, { threads } as never, unset)],
    ['searchSpeed needs a function that measures', (measure) => searchSpeed({} as never, NO_CHOICES, measure)],
  ])('%s', async (needed, call) => {
    expect(await refusals(call)).toEqual(refused(needed));
  });

  it('for options that are lists', async () => {
    const options = { contestants: [], budgets: [0.5] };
    const given = WRONG.slice(1);
    const wrong = given.map(([value]) => value);
    const told = (needed: string) => refused(needed, given);
    expect(await refusals((contestants) => compare(model, { ...options, contestants }), wrong)).toEqual(
      told('compare needs contestants as a list of { name, policy }'),
    );
    expect(await refusals((budgets) => compare(model, { ...options, budgets }), [...wrong, [0]])).toEqual([
      ...told('compare needs budgets as a list of numbers above 0 and up to 1'),
      'compare needs budgets as a list of numbers above 0 and up to 1, but the one at index 0 is 0',
    ]);
    expect(await refusals((cases) => compare(model, { ...options, cases }), [...wrong, []])).toEqual([
      ...told('compare needs a list of recall cases, as parseRecallCases gives it'),
      'there are no recall cases',
    ]);
    const passages = 'passages as parsePassages gives them';
    expect(await refusals((list) => ruler(model, { passages: list }), [...wrong, []])).toEqual([
      ...told(`ruler needs ${passages}`),
      `ruler needs ${passages}, but got an empty array`,
    ]);
    const cases = { length: 200, countTokens: (text: string) => text.length };
    expect(await refusals((tasks) => rulerCases({ ...cases, tasks }), wrong)).toEqual(
      told('rulerCases needs tasks as a list of their names'),
    );
  });

  it('and its index, where it is in a list', async () => {
    expect(await refusals((cases) => recall(model, cases), [[null], [{ context: 'a' }]])).toEqual([
      'recall needs a list of recall cases, as parseRecallCases gives it, but the one at index 0 is null',
      'recall needs a list of recall cases, as parseRecallCases gives it, but the one at index 0 is an object',
    ]);
    expect(await refusals((results) => plotComparison(results), [[{ policy: 'dense' }], []])).toEqual([
      'plotComparison needs a list of results, as compare gives it, but the one at index 0 is an object',
      'plotComparison needs a list of results, as compare gives it, but got an empty array',
    ]);
    expect(await refusals((values) => meanInterval(values), [[1, 2, '3']])).toEqual([
      'meanInterval needs a list of numbers, but the one at index 2 is "3"',
    ]);
  });

  it('in a list that is checked once, whatever the function calls', async () => {
    const readsOf = async (object: object, field: string, call: (list: never) => unknown) => {
      let reads = 0;
      const get = (target: object, key: string) => {
        if (key === field) reads++;
        return Reflect.get(target, key);
      };
      await call([new Proxy(object, { get })] as never);
      return reads;
    };
    const passage = { passage: 'A lives in B.', question: 'Where does A live?', answers: ['B'] };
    const limits = { tasks: ['single'], length: 200, count: 1 } as const;
    const countTokens = (text: string) => model.tokenizer.encode(text).length;
    expect(await readsOf(passage, 'answers', (passages) => ruler(model, { ...limits, passages }))).toBe(
      await readsOf(passage, 'answers', (passages) => rulerCases({ ...limits, countTokens, passages })),
    );
    const result = { policy: 'h2o', budget: 0.5, recall: {}, msPerToken: 1, cacheBytes: 1 };
    expect(await readsOf(result, 'recall', comparisonMarkdown)).toBe(await readsOf(result, 'recall', comparisonCells));
    const item = { context: 'A is 5.', question: ' A is', answer: ' 5', length: 12, depth: 0 };
    expect(await readsOf(item, 'question', (cases) => compare(model, { contestants: [], budgets: [], cases }))).toBe(
      await readsOf(item, 'question', (cases) => recall(model, cases)),
    );
  });

  it('also for what is no calibration table, or no SVG document', async () => {
    for (const message of await refusals((table) => plotCalibration(table)))
      expect(message).toMatch(/^this is no calibration table: /);
    expect(await refusals((part) => plotCalibration({} as never, part), [0, 'x'])).toEqual([
      'the part of plotCalibration must be above 0 and at most 1, but is 0',
      'the part of plotCalibration must be above 0 and at most 1, but is "x"',
    ]);
    expect((await refusals((svg) => plotPng(svg), ['picture']))[0]).toMatch(
      /^plotPng needs an SVG document as a string, but got "picture": /,
    );
    expect(await refusals((begin) => searchSpeed(begin, unset, unset), [undefined])).toEqual([
      'searchSpeed needs settings to begin with, but got undefined',
    ]);
  });
});
