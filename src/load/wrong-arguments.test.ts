/**
 * What functions of the library say of arguments that are none of what they take; arguments.test.ts has models, paths
 * and options.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { refusals, refused, WRONG } from '../../test/support/refusals.ts';
import { adapterFromBlobs, mergeAdapters, openAdapter } from '../exports/adapters-node.ts';
import {
  ANSWER_FORMATS,
  AnswerParser,
  answerFormatOf,
  ChatTemplate,
  checkpointFromBlobs,
  generationDefaults,
  openCheckpoint,
} from '../exports/checkpoint-node.ts';
import { keyName } from '../exports/server.ts';
import { type LanguageModel, loadModel, loadModelInWorker, saveCache, type WorkerModel } from '../node.ts';

const MESSAGES = [{ role: 'user', content: 'Hello' }];

describe('a wrong argument is told with the function that it was given to', () => {
  it.each<[string, (value: never) => unknown]>([
    ['adapterFromBlobs needs a Map from names of files to Blobs', (files) => adapterFromBlobs(files)],
    ['checkpointFromBlobs needs a Map from names of files to Blobs', (files) => checkpointFromBlobs(files)],
    ['openAdapter needs files, as { name, list, open }', (files) => openAdapter(files)],
    ['an AnswerParser needs a format, as answerFormatOf gives it', (format) => new AnswerParser(format)],
    ['an AnswerParser needs pieces of text', (text) => new AnswerParser(ANSWER_FORMATS[0]).push(text)],
    ['answerFormatOf needs the text of a chat template', (text) => answerFormatOf(text)],
    ['keyName needs a key as a string', (key) => keyName(key)],
  ])('%s', async (needed, call) => {
    expect(await refusals(call)).toEqual(refused(needed));
  });

  it('where an object is wanted', async () => {
    const [, ...others] = WRONG.slice(0, 3);
    const wrong = [...others, [[], 'an array'] as const];
    const values = wrong.map(([value]) => value);
    expect(await refusals((json) => generationDefaults(json), values)).toEqual(
      refused('generationDefaults needs the parsed content of generation_config.json', wrong),
    );
    expect(await refusals((text) => new ChatTemplate(text), values)).toEqual(
      refused('a ChatTemplate needs a template as a string, or several by their names', wrong),
    );
    expect(await refusals((config) => new ChatTemplate('x', config), values)).toEqual(
      refused('a ChatTemplate needs tokenizer_config.json as an object', wrong),
    );
    expect(await refusals((sources) => ChatTemplate.of(sources), values)).toEqual(
      wrong.map(([, shown]) => `the options of ChatTemplate.of must be an object, but are ${shown}`),
    );
    expect(await refusals((options) => new ChatTemplate('x').render(MESSAGES, options), values)).toEqual(
      wrong.map(([, shown]) => `the options of render must be an object, but are ${shown}`),
    );
  });

  it('where something in it is wrong', async () => {
    const files = new Map([['adapter_config.json', '{}']]) as never;
    expect(await refusals(adapterFromBlobs, [files])).toEqual([
      'adapterFromBlobs needs a Map from names of files to Blobs, but adapter_config.json is "{}"',
    ]);
    expect(await refusals((text) => new ChatTemplate({ default: text }), [5])).toEqual([
      'a ChatTemplate needs a template as a string, or several by their names, but got 5',
    ]);
    expect(await refusals((sources) => ChatTemplate.of(sources), [{ jinja: 5 }, { template: 'x' }])).toEqual([
      'jinja of ChatTemplate.of must be a string, but is 5',
      'ChatTemplate.of has no source template; there are config, jinja, json',
    ]);
  });
});

describe('models refuse', () => {
  let model: LanguageModel;
  let thread: WorkerModel;
  beforeAll(async () => {
    model = await loadModel('keyhold/tiny', { threads: 1 });
    thread = await loadModelInWorker('keyhold/tiny', { threads: 1 });
  });
  afterAll(async () => {
    await model.dispose();
    await thread.dispose();
  });

  it('what is no cache', async () => {
    const calls: Record<string, (cache: never) => unknown> = {
      step: (cache) => model.step(cache, [[1]]),
      prefill: (cache) => model.prefill(cache, [1]),
      prefillSteps: (cache) => model.prefillSteps(cache, [1]).next(),
      prepare: (cache) => model.prepare(cache),
      snapshot: (cache) => model.snapshot(cache),
      setCrossAttentionStates: (cache) => model.setCrossAttentionStates(cache, new Float32Array()),
    };
    const needed = 'needs a cache, as createCache gives it';
    for (const [name, call] of Object.entries(calls))
      expect(await refusals(call), name).toEqual(refused(`${name} ${needed}`));
    expect(await refusals((cache) => thread.snapshot(cache))).toEqual(refused(`snapshot ${needed}`));
    expect(await refusals((cache) => saveCache(model, cache, 'never.cache'))).toEqual(refused(`snapshot ${needed}`));
  });

  it('what are no tokens of a step', async () => {
    const needed = 'step needs a list of token ids for each row of the cache';
    expect(await refusals((chunk) => model.step(model.createCache(), chunk))).toEqual(refused(needed));
    expect(await refusals((chunk) => model.step(model.createCache(), chunk), [[1]])).toEqual([
      `${needed}, but the one at index 0 is 1`,
    ]);
  });

  it('what is no saved cache', async () => {
    for (const each of [model, thread])
      expect(await refusals((bytes) => each.restore(bytes))).toEqual(
        refused('restore needs a Uint8Array, as snapshot gives it'),
      );
  });

  it('what are no requests', async () => {
    for (const each of [model, thread]) {
      for (const message of await refusals((requests) => each.generateBatch(requests)))
        expect(message).toBe('generateBatch takes a list of requests, or something else to iterate over');
      expect(await each.generateBatch([null] as never).results()).toMatchObject([
        { type: 'error', error: { message: 'a request needs a prompt, or messages instead' } },
      ]);
    }
  });

  it('what are no adapters', async () => {
    for (const each of [model, thread]) {
      expect(await refusals((choice) => each.adapters.use(choice))).toEqual(
        WRONG.map(([, shown]) => `adapters must be names, or objects of name and weight, but one is ${shown}`),
      );
      expect(await refusals((choice) => each.adapters.use(choice), [['a', null]])).toEqual([
        'adapters must be names, or objects of name and weight, but one is null',
      ]);
      expect(await refusals((name) => each.adapters.load('folder', name))).toEqual(
        refused('adapters.load needs a name as a string'),
      );
    }
    const checkpoint = await openCheckpoint('keyhold/tiny');
    expect(await refusals((adapters) => mergeAdapters(checkpoint, adapters, 'never'))).toEqual(
      refused('mergeAdapters needs adapters as a list of { path, weight }'),
    );
    await checkpoint.close();
  });
});
