/**
 * What functions of the library say of arguments that are none of what they take; arguments.test.ts has models, paths
 * and options.
 */
import { describe, expect, it } from 'vitest';
import { refusals, refused, WRONG } from '../../test/support/refusals.ts';
import { adapterFromBlobs, openAdapter } from '../exports/adapters-node.ts';
import {
  ANSWER_FORMATS,
  AnswerParser,
  answerFormatOf,
  ChatTemplate,
  checkpointFromBlobs,
  generationDefaults,
} from '../exports/checkpoint-node.ts';
import { keyName } from '../exports/server.ts';

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
