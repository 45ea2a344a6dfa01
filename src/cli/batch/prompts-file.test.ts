import { appendFile, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { CliProcess, keyhold, testIo } from '../../../test/support/cli.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { takeFileLock } from '../../util/files/file-lock-node.ts';
import { run } from '../program.ts';

const folder = await tempFolder('batch-cli');
const cacheDir = join(folder, 'cache');
beforeAll(() => {
  vi.stubEnv('KEYHOLD_CACHE', cacheDir);
});
afterAll(() => {
  vi.unstubAllEnvs();
});

let prompts: string;
let out: string;
let count = 0;
beforeEach(() => {
  prompts = join(folder, `prompts-${++count}.jsonl`);
  out = join(folder, `texts-${count}.jsonl`);
});

interface Line {
  id: string | number;
  prompt?: string;
  text: string;
  tokens: number[];
  finishReason: string;
  seed?: number;
  error?: { name: string; message: string };
}

const REQUESTS: readonly unknown[] = [
  'In the beginning',
  { prompt: 'And it came to pass', id: 'two', maxNewTokens: 3 },
  { prompt: [0, 5, 7], temperature: 0 },
  'And Moses',
  'For the',
];
const write = (lines: readonly unknown[]) =>
  writeFile(prompts, `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
const read = async (): Promise<Line[]> =>
  (await readFile(out, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
const batch = (...flags: string[]) =>
  keyhold(['generate', '--prompts', prompts, '--out', out, '-n', '6', '--seed', '9', '--batch-size', '3', ...flags]);

describe('keyhold generate --prompts', () => {
  it('writes each result as a line, by the options of the request over those of the command', async () => {
    await write(REQUESTS);
    const { code, stdout, stderr } = await batch('-c', '64');
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(stderr).toMatch(/5 requests with 27 tokens in .* a second\)\n$/);
    const lines = await read();
    expect(lines.map(({ id }) => id).sort()).toEqual([0, 2, 3, 4, 'two']);
    const byId = new Map(lines.map((line) => [line.id, line]));
    expect(byId.get('two')).toMatchObject({
      prompt: 'And it came to pass',
      tokens: { length: 3 },
      finishReason: 'length',
      seed: 10,
    });
    // Seeds follow the places in the file; alone it is the same text.
    const alone = await keyhold(['generate', 'And Moses', '-n', '6', '--seed', '12', '-q', '-c', '64']);
    expect(byId.get(3)!.text).toBe(alone.stdout.trimEnd());
    expect(byId.get(3)!.seed).toBe(12);
    expect(byId.get(2)).not.toHaveProperty('logprobs');
  });

  it('goes on where it was cut off, and does nothing twice', async () => {
    await write(REQUESTS);
    await batch();
    const whole = await read();
    const text = await readFile(out, 'utf8');
    // Cut anywhere, also in the middle of a line, or of its end.
    for (const cut of [
      0,
      1,
      text.indexOf('\n'),
      text.indexOf('\n') + 1,
      text.indexOf('\n') + 30,
      text.length - 3,
      text.length - 1,
    ]) {
      await truncate(out, 0);
      await writeFile(out, text.slice(0, cut));
      const there = text.slice(0, cut + 1).split('\n').length - 1;
      const { code, stderr } = await batch();
      expect(code).toBe(0);
      const were = there === 1 ? '1 request was' : `${there} requests were`;
      expect(stderr).toMatch(there > 0 ? new RegExp(`, ${were} there already`) : /a second\)\n$/);
      const lines = await read();
      expect(lines.map(({ id }) => String(id)).sort()).toEqual(whole.map(({ id }) => String(id)).sort());
      for (const line of lines) expect(line).toEqual(whole.find(({ id }) => id === line.id));
    }
    const { stderr } = await batch();
    expect(stderr).toMatch(/^0 requests with 0 tokens in [^(]*, 5 requests were there already\n$/);
  });

  it('keeps what was finished when it is killed', async () => {
    await write(Array.from({ length: 12 }, (_, i) => ({ prompt: 'And', id: `row ${i}`, maxNewTokens: 5 + 8 * i })));
    const args = ['generate', '--prompts', prompts, '--out', out, '--seed', '1', '--batch-size', '2', '-q'];
    const process = new CliProcess(args, { KEYHOLD_CACHE: cacheDir });
    while ((await readFile(out, 'utf8').catch(() => '')).split('\n').length < 4)
      await new Promise((done) => setTimeout(done, 10));
    process.child.kill('SIGKILL');
    await process.end();
    const before = (await readFile(out, 'utf8')).split('\n').slice(0, -1);
    expect(before.length).toBeLessThan(12);
    const { code } = await keyhold(args);
    expect(code).toBe(0);
    const lines = (await readFile(out, 'utf8')).split('\n').slice(0, -1);
    expect(lines.slice(0, before.length)).toEqual(before);
    expect(new Set(lines.map((line) => (JSON.parse(line) as Line).id)).size).toBe(12);
    expect(lines).toHaveLength(12);
  });

  it('leaves requests that were interrupted to the next run', async () => {
    await write([
      'And',
      { prompt: 'And', maxNewTokens: 100_000, eosTokenIds: [], cache: { policy: 'lastrec', cacheLength: 32 } },
    ]);
    const process = new CliProcess(['generate', '--prompts', prompts, '--out', out, '-n', '4'], {
      KEYHOLD_CACHE: cacheDir,
    });
    while ((await readFile(out, 'utf8').catch(() => '')) === '') await new Promise((done) => setTimeout(done, 10));
    process.child.kill('SIGINT');
    expect((await process.end()).code).toBe(130);
    expect((await read()).map(({ id }) => id)).toEqual([0]);
  });

  it('prints lines where no file is named', async () => {
    await write(['And', { messages: [{ role: 'user', content: 'Hi' }], template: '{{ messages[0].content }}' }]);
    const { stdout, code } = await keyhold(['generate', '--prompts', prompts, '-n', '2', '-q', '--logprobs', '2']);
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map(({ id }) => id).sort()).toEqual([0, 1]);
    expect(lines.find(({ id }) => id === 1)).toMatchObject({
      messages: [{ role: 'user', content: 'Hi' }],
      logprobs: [{ top: { length: 2 } }, { top: { length: 2 } }],
    });
  });

  it('tells the errors of single requests in their lines', async () => {
    await write([{ prompt: 'And', cache: { policy: 'nope' } }, 'And', { prompt: 'And', topP: 7 }]);
    const { code, stderr } = await batch();
    expect(code).toBe(1);
    expect(stderr).toMatch(/3 requests .*, 2 of them failed\nerror: 2 requests failed; the results say why\n$/);
    const failed = (await read()).filter(({ error }) => error);
    expect(failed.map(({ id, error }) => [id, error!.name]).sort()).toEqual([
      [0, 'InputError'],
      [2, 'InputError'],
    ]);
    // They are not tried again, but nobody is told that all went well.
    const again = await batch();
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/, 3 requests were there already \(2 failed\)\nerror: 2 requests failed/);
  });

  it('waits for another process that writes the same file, and says so', async () => {
    await write(['And']);
    const lock = await takeFileLock(`${out}.lock`);
    const io = testIo();
    const done = run(['generate', '--prompts', prompts, '--out', out, '-n', '2'], io);
    await vi.waitUntil(() => io.stderr.text.includes(`waiting for another process that writes ${out}`), 60_000);
    await lock.release();
    expect(await done).toBe(0);
    expect(await read()).toHaveLength(1);
  });

  it.each<[unknown[] | string, RegExp]>([
    ['', /has no requests/],
    ['{"prompt": 3}', /line 1: prompt must be /],
    ['"fine"\n{"prompt": "x", "maxTokens": 3}', /line 2: there is no option maxTokens\n/],
    ['{"prompt": "x"', /line 1 is not JSON/],
    ['[1]', /line 1 must be a prompt, or an object with a prompt\n/],
    ['3', /line 1 must be a prompt, or an object with a prompt\n/],
    ['{}', /line 1 must have a prompt, or messages instead/],
    ['{"prompt": "x", "messages": []}', /line 1 must have a prompt, or messages instead/],
    ['{"prompt": "x", "id": 1}\n"y"', /line 2: there is another request with the id 1/],
    ['"x"\n{"prompt": "y", "id": "a"}\n{"prompt": "z", "id": "a"}', /line 3: there is another request with the id "a"/],
  ])('refuses %j', async (text, message) => {
    await writeFile(prompts, text as string);
    const { code, stderr } = await batch();
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
  });

  it('does not touch a file that holds something else', async () => {
    await write(REQUESTS);
    for (const [text, message] of [
      ['{"id": 0, "prompt": "another"}\n', /line 1 is not a result of these prompts/],
      ['{"id": 17, "prompt": "In the beginning"}\n', /line 1 is not a result/],
      ['some notes\nof mine\n', /line 1 is not JSON/],
      ['null\n', /line 1 is not a result/],
    ] as const) {
      await writeFile(out, text);
      const { code, stderr } = await batch();
      expect(code).toBe(1);
      expect(stderr).toMatch(message);
      expect(await readFile(out, 'utf8')).toBe(text);
    }
    await appendFile(out, '');
    const nowhere = await keyhold(['generate', '--prompts', prompts, '--out', folder]);
    expect(nowhere.stderr).toMatch(/--out .* can't be written/);
  });

  it('refuses flags that contradict each other', async () => {
    await write(REQUESTS);
    for (const flags of [
      ['--out', out],
      ['--batch-size', '3'],
      ['--prompts', prompts, 'a prompt'],
      ['--prompts', prompts, '--prompt-file', prompts],
      ['--prompts', prompts, '--json'],
      ['--prompts', prompts, '--demo'],
      ['--prompts', join(folder, 'nope')],
      ['--prompts', prompts, '--speculate', '-p', 'expected', '-c', '32'],
      ['--prompts', prompts, '--speculate', '--cache-buffer', 'int8'],
      ['And', '--logprobs', '2'],
      ['And', '--draft', 'models/tiny', '--cache-buffer', 'float16'],
      ['And', '--speculate', '-p', 'expected', '-c', '32'],
    ])
      expect((await keyhold(['generate', ...flags])).code, flags.join(' ')).toBe(2);
  });
});

describe('one prompt', () => {
  it('has log probabilities with --json', async () => {
    const { stdout } = await keyhold(['generate', 'And', '-n', '3', '-t', '0', '--json', '-q', '--logprobs', '2']);
    const { tokens, logprobs } = JSON.parse(stdout) as {
      tokens: number[];
      logprobs: { token: number; top: unknown[] }[];
    };
    expect(logprobs.map(({ token }) => token)).toEqual(tokens);
    expect(logprobs.every(({ top }) => top.length === 2)).toBe(true);
  });

  it('is the same text with speculation, which is told', async () => {
    const written = async (...flags: string[]) => {
      const { stdout } = await keyhold([
        'generate',
        'the sea and the sea and the sea',
        '-n',
        '20',
        '-t',
        '0',
        '--json',
        '-q',
        ...flags,
      ]);
      return JSON.parse(stdout) as { text: string; speculation?: { proposed: number; accepted: number } };
    };
    const [plain, lookup, draft] = [
      await written(),
      await written('--speculate'),
      await written('--draft', 'models/tiny'),
    ];
    expect(lookup.text).toBe(plain.text);
    expect(draft.text).toBe(plain.text);
    expect(plain.speculation).toBeUndefined();
    expect(lookup.speculation!.proposed).toBeGreaterThan(0);
    expect(draft.speculation!.accepted).toBeGreaterThan(10);
  });
});
