import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PLAIN, THINKING } from '../../test/support/chat-templates.ts';
import { caseFolder } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import type { ChatMessage } from '../engine/messages.ts';
import type { LogitsProcessor } from '../engine/sampling/logits.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { loadConversation, loadModel, saveConversation } from '../node.ts';
import { InputError, SnapshotError } from '../util/errors.ts';
import { Conversation, type ConversationOptions } from './conversation.ts';

const folder = await tempFolder('conversation');
const cacheDir = join(folder, 'cache');
let tiny: LanguageModel;
beforeAll(async () => {
  tiny = await loadModel('models/tiny', { weights: 'float32', cacheDir, generationConfig: false });
});
afterAll(() => tiny.dispose());

const OPTIONS: ConversationOptions = { template: PLAIN, maxNewTokens: 12 };
const idsOf = (text: string): number[] => tiny.tokenizer.encode(text, { addSpecialTokens: false });
const tokensOf = ({ tokens }: { tokens: readonly { token: number }[] }): number[] => tokens.map(({ token }) => token);

/** Answers with these texts, one after the other; each ends as the model ends. */
function dictate(...answers: string[]): LogitsProcessor {
  const scripts = answers.map((answer) => [...idsOf(answer), 1]);
  let last = -1;
  let script: number[] = [];
  return (logits, { tokens, promptLength }) => {
    if (promptLength !== last) script = scripts.shift()!;
    last = promptLength;
    const next = script[tokens.length - promptLength];
    logits.fill(-Infinity).fill(0, next, next + 1);
  };
}

describe('model.chat', () => {
  it('answers as generate goes on from the rendered messages', async () => {
    const messages = [{ role: 'user', content: 'Who art thou?' }];
    const answer = await tiny.chat(messages, { template: PLAIN, maxNewTokens: 10 }).result();
    const plain = await tiny.generate(idsOf('<s>user: Who art thou?\nassistant:'), { maxNewTokens: 10 }).result();
    expect(answer.text).toBe(plain.text);
    expect(answer.usage.promptTokens).toBe(plain.usage.promptTokens);
  });

  it('says what to do where the model has no template', () => {
    expect(tiny.chatTemplate).toBeNull();
    expect(() => tiny.chat([{ role: 'user', content: 'Hi' }])).toThrow(InputError);
    expect(() => new Conversation(tiny)).toThrow(
      /models\/tiny has no chat template: .* Use its chat-tuned sibling, give a template \(in Jinja\) of your own, or write/,
    );
  });

  it('takes the checkpoint’s own template, and ends where its tokenizer says', async () => {
    const path = join(folder, 'chatty');
    await cp('models/tiny', path, { recursive: true });
    await writeFile(join(path, 'chat_template.jinja'), PLAIN);
    // The end of a turn is not the end that config.json knows.
    const config = JSON.parse(await readFile(join(path, 'config.json'), 'utf8')) as object;
    await writeFile(join(path, 'config.json'), JSON.stringify({ ...config, eos_token_id: 2 }));
    await writeFile(join(path, 'generation_config.json'), JSON.stringify({ eos_token_id: [3] }));
    await using chatty = await loadModel(path, { weights: 'float32', cacheDir, generationConfig: false });
    expect(chatty.chatTemplate!.names).toEqual(['default']);
    expect(chatty.eosTokenIds).toEqual([2, 3]);
    for (const end of [1, 2, 3]) {
      const processors: LogitsProcessor[] = [
        (logits, { tokens, promptLength }) => logits.fill(tokens.length > promptLength ? 99 : 0, end, end + 1),
      ];
      const messages = [{ role: 'user', content: 'Hi' }];
      expect(await chatty.chat(messages, { processors }).result()).toMatchObject({ finishReason: 'eos' });
      // Plain text goes on after the tokenizer's own end.
      const { finishReason } = await chatty.generate('Hi', { processors, maxNewTokens: 4 }).result();
      expect(finishReason).toBe(end === 1 ? 'length' : 'eos');
    }
  });
});

describe('a conversation', () => {
  it.each([
    [undefined, {}, 'the model of a Conversation must be one that loadModel gave, but is undefined'],
    ['keyhold/tiny', {}, 'but is "keyhold/tiny"'],
    [null, { ...OPTIONS, sistem: 'Be brief.' }, 'Conversation has no option sistem'],
    [null, { ...OPTIONS, system: 'Be brief.' }, "it is called a message of role 'system' here"],
    [null, 'be brief', 'the options of Conversation must be an object, but are "be brief"'],
  ])('is refused for the model %o with %o', (model, options, told) => {
    expect(() => new Conversation((model === null ? tiny : model) as typeof tiny, options as object)).toThrow(told);
  });

  it('computes what is new, and answers as if it had computed all', async () => {
    const conversation = new Conversation(tiny, { ...OPTIONS, messages: [{ role: 'system', content: 'Be brief.' }] });
    let before = 0;
    for (const text of ['Hello', 'And then?', 'Why?']) {
      const summary = await conversation.say(text).result();
      expect(summary.usage.cachedTokens).toBe(before);
      expect(summary.usage.promptTokens - summary.usage.cachedTokens).toBeLessThan(25);
      before = conversation.cache.length();
      const asked = conversation.messages.slice(0, -1);
      const anew = await tiny.chat(asked, { ...OPTIONS }).result();
      expect(summary.text).toBe(anew.text);
    }
    expect(conversation.messages.map(({ role }) => role)).toEqual([
      'system',
      ...['user', 'assistant', 'user', 'assistant', 'user', 'assistant'],
    ]);
  });

  it.each(['lastrec', 'h2o', 'snapkv', 'tova', 'expected', 'keydiff'])(
    'goes on from what %s holds, after it has dropped some',
    async (policy) => {
      const cache: AnyCacheOptions = { policy, cacheLength: 32 };
      const conversation = new Conversation(tiny, { ...OPTIONS, cache, temperature: 0.9, seed: 2 });
      let before = 0;
      for (const text of ['Hello there, thou', 'And what came then to pass in the land?', 'Why?', 'Tell me more.']) {
        const summary = await conversation.say(text).result();
        expect(summary.usage.cachedTokens).toBe(before);
        before = conversation.cache.length();
      }
      expect(conversation.cache.stats().evicted[0]).toBeGreaterThan(20);
      expect(conversation.cache.stats().held[0]).toBeLessThanOrEqual(32);
    },
  );

  it('keeps the tokens that were written, also where the tokenizer would make others of their text', async () => {
    // "ab" letter by letter.
    const letters = ['a', 'b', 'c'].map((letter) => tiny.tokenizer.tokenToId(letter)!);
    expect(idsOf('abc')).not.toEqual(letters);
    const script = [...letters, 1];
    const processors: LogitsProcessor[] = [
      (logits, { tokens, promptLength }) => {
        const next = script[tokens.length - promptLength];
        logits.fill(-Infinity).fill(0, next, next + 1);
      },
    ];
    const tight =
      '{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}';
    const conversation = new Conversation(tiny, {
      template: tight,
      processors,
      cache: { policy: 'lastrec', cacheLength: 16 },
    });
    await conversation.say('Spell it').result();
    const seen = conversation.cache.tokens();
    expect(seen.slice(-3)).toEqual(letters);
    const again = await conversation.say('Again').result();
    expect(again.usage.cachedTokens).toBe(seen.length);
    expect(conversation.cache.tokens().slice(0, seen.length)).toEqual(seen);
    expect(conversation.messages.at(-1)!.content).toBe('abc');
  });

  it('writes its answers down without the spaces that the template writes by itself', async () => {
    const processors = [dictate(' Good day.', ' \n Indeed.')];
    const conversation = new Conversation(tiny, { ...OPTIONS, processors });
    await conversation.say('Hello').result();
    expect(conversation.messages.at(-1)!.content).toBe('Good day.');
    const { usage } = await conversation.say('So?').result();
    expect(usage.cachedTokens).toBeGreaterThan(9);
    expect(conversation.messages.at(-1)!.content).toBe('\n Indeed.');
  });

  it('goes back where the template leaves something of an answer out', async () => {
    const processors = [dictate('let me see</think>It is so.', 'Yes.')];
    const conversation = new Conversation(tiny, { template: THINKING, processors });
    await conversation.say('Is it?').result();
    const summary = await conversation.say('Sure?').result();
    // Up to about where the thoughts began.
    expect(summary.usage.cachedTokens).toBeGreaterThan(idsOf('user: Is it?\n').length);
    expect(summary.usage.cachedTokens).toBeLessThanOrEqual(idsOf('user: Is it?\nassistant: ').length);
    const text = 'user: Is it?\nassistant: It is so.\nuser: Sure?\nassistant: Yes.';
    expect(tiny.tokenizer.decode(conversation.cache.tokens())).toBe(text);
  });

  it('forgets what comes with a stop string', async () => {
    const processors = [dictate('one two three', 'four')];
    const conversation = new Conversation(tiny, { ...OPTIONS, processors, stop: 'two' });
    const first = await conversation.say('Count').result();
    expect(first).toMatchObject({ text: 'one ', finishReason: 'stop' });
    await conversation.say('More').result();
    const text = '<s>user: Count\nassistant: one \nuser: More\nassistant:four';
    expect(tiny.tokenizer.decode(conversation.cache.tokens(), { skipSpecialTokens: false })).toBe(text);
  });

  it('has an answer that was cut short, as far as it came', async () => {
    const cache: Partial<AnyCacheOptions> = { policy: 'lastrec', cacheLength: 64 };
    const conversation = new Conversation(tiny, { ...OPTIONS, cache, maxNewTokens: 100 });
    const aborter = new AbortController();
    const answer = conversation.say('Hello', { signal: aborter.signal });
    let pieces = 0;
    await expect(async () => {
      for await (const _ of answer) if (++pieces === 5) aborter.abort(new Error('enough'));
    }).rejects.toThrow('enough');
    expect(answer.partial!.finishReason).toBe('aborted');
    expect(conversation.messages.map(({ role }) => role)).toEqual(['user', 'assistant']);
    expect(conversation.messages[1].content).toBe(answer.partial!.text.trimStart());
    const before = conversation.cache.length();
    const next = await conversation.say('Go on', { maxNewTokens: 3 }).result();
    expect(next.usage.cachedTokens).toBe(before);
    for await (const _ of conversation.say('And?')) break;
    expect(conversation.messages).toHaveLength(6);
  });

  it('has not said what got no answer', async () => {
    const conversation = new Conversation(tiny, { ...OPTIONS, cache: { policy: 'dense', cacheLength: 40 } });
    await conversation.say('Hello').result();
    const before = conversation.messages;
    await expect(conversation.say('word '.repeat(50)).result()).rejects.toThrow(/the dense cache holds/);
    const aborted = conversation.say('Hi', { signal: AbortSignal.abort(new Error('no')) });
    await expect(aborted.result()).rejects.toThrow('no');
    expect(conversation.messages).toEqual(before);
    expect((await conversation.say('Hi', { maxNewTokens: 2 }).result()).text).not.toBe('');
  });

  it('gives one answer at a time', async () => {
    const conversation = new Conversation(tiny, OPTIONS);
    const [one, two] = [conversation.say('a'), conversation.say('b')];
    const iterator = one[Symbol.asyncIterator]();
    await iterator.next();
    expect(() => conversation.say('c')).toThrow(/an answer is being given/);
    expect(() => conversation.reset()).toThrow(InputError);
    await expect(two.result()).rejects.toThrow(InputError);
    await iterator.return();
    await expect(one[Symbol.asyncIterator]().next()).rejects.toThrow(/read already/);
    await conversation.say('d').result();
    conversation.reset();
    expect(conversation.messages).toEqual([]);
    expect(conversation.cache.length()).toBe(0);
  });

  it('refuses an answer that was asked for before the conversation went on', async () => {
    const conversation = new Conversation(tiny, { ...OPTIONS, maxNewTokens: 2 });
    const [one, two] = [conversation.say('a'), conversation.say('b')];
    await one.result();
    const { messages } = conversation;
    await expect(two.result()).rejects.toThrow(/the conversation went on .* say it again/);
    expect(conversation.messages).toBe(messages);
    await conversation.say('b').result();
    expect(conversation.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
  });

  it('takes messages of other roles, and options for one answer', async () => {
    const conversation = new Conversation(tiny, OPTIONS);
    await conversation
      .say([
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hi' },
      ])
      .result();
    await conversation
      .say({ role: 'tool', content: '{"x": 1}' }, { maxNewTokens: 2, temperature: 1, seed: 1 })
      .result();
    expect(conversation.messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'tool', 'assistant']);
    expect(() => conversation.say('')).not.toThrow();
    expect(() => conversation.say('x', { temperature: -1 })).toThrow(/temperature/);
  });

  it('may speculate', async () => {
    const [plain, ahead] = [false, true].map(
      (speculate) => new Conversation(tiny, { ...OPTIONS, speculate, maxNewTokens: 30 }),
    );
    for (const text of ['Say it again and again', 'Say it again and again']) {
      const [a, b] = [await plain.say(text).result(), await ahead.say(text).result()];
      expect(tokensOf(b)).toEqual(tokensOf(a));
      expect(ahead.cache.tokens()).toEqual(plain.cache.tokens());
    }
  });
});

describe('a saved conversation', () => {
  it('goes on as if nothing had been between', async () => {
    const path = join(folder, 'saved.json');
    for (const policy of ['dense', 'h2o']) {
      const options = { ...OPTIONS, temperature: 0.7, seed: 5 };
      const conversation = new Conversation(tiny, { ...options, cache: { policy, cacheLength: 128 } });
      await conversation.say('Hello').result();
      await conversation.say('And then there came to pass what').result();
      await saveConversation(tiny, conversation, path);
      const loaded = await loadConversation(tiny, path, options);
      expect(loaded.messages).toEqual(conversation.messages);
      const [a, b] = [await conversation.say('Why?').result(), await loaded.say('Why?').result()];
      expect(b.text).toBe(a.text);
      expect(b.usage.cachedTokens).toBe(a.usage.cachedTokens);
    }
  });

  it('may have messages without a text of their own', async () => {
    const path = join(folder, 'calls.json');
    const messages = [
      { role: 'user', content: [{ type: 'text', text: 'How warm is it?' }] },
      { role: 'assistant', content: null, tool_calls: [{ function: { name: 'weather', arguments: {} } }] },
      { role: 'tool', content: '12 degrees' },
    ] as unknown as ChatMessage[];
    const template = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:';
    const conversation = new Conversation(tiny, { ...OPTIONS, template, messages });
    await conversation.say('So?').result();
    await saveConversation(tiny, conversation, path);
    const loaded = await loadConversation(tiny, path, { ...OPTIONS, template });
    expect(loaded.messages).toEqual(conversation.messages);
  });

  it('is told from other files, and from those of other models', async () => {
    const path = join(folder, 'other.json');
    await expect(loadConversation(tiny, path, OPTIONS)).rejects.toThrow(
      new SnapshotError(`${path}: does not exist; name the file of a saved conversation`),
    );
    await writeFile(path, '{"messages": []}');
    await expect(loadConversation(tiny, path, OPTIONS)).rejects.toThrow(
      /other\.json: this is not a saved conversation/,
    );
    const conversation = new Conversation(tiny, OPTIONS);
    await conversation.say('Hello').result();
    await saveConversation(tiny, conversation, path);
    await using small = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir, generationConfig: false });
    await expect(loadConversation(small, path, OPTIONS)).rejects.toThrow(/saved by another model/);
    await expect(saveConversation(tiny, conversation, join(path, 'x'))).rejects.toThrow(SnapshotError);
  });

  it('leaves no cache where the conversation can not be saved', async () => {
    const path = join(folder, 'a-folder');
    await mkdir(path);
    await expect(saveConversation(tiny, new Conversation(tiny, OPTIONS), path)).rejects.toThrow(
      new SnapshotError(`${path} is a folder: name a file`),
    );
    expect(await readdir(folder)).not.toContain('a-folder.cache');
  });
});
