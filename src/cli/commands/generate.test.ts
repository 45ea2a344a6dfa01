import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { keyhold } from '../../../test/support/cli.ts';
import { Interrupted } from '../io.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyhold-cli-'));
  vi.stubEnv('KEYHOLD_CACHE', join(folder, 'cache'));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

const PROMPT = 'And it came to pass';

interface GenerateJson {
  text: string;
  tokens: number[];
  promptTokens: number;
  finishReason: string;
  stopString?: string;
  weights: string;
  sampling: Record<string, number>;
  timings: Record<string, number>;
  cache: { policy: string; seen: number; held: number; evicted: number; positions: { positions: number[][] }[] };
}

async function json(...args: string[]): Promise<GenerateJson> {
  const { code, stdout, stderr } = await keyhold(['generate', ...args, '--json']);
  expect(stderr).not.toContain('error');
  expect(code).toBe(0);
  expect(stdout.split('\n')).toHaveLength(2);
  return JSON.parse(stdout) as GenerateJson;
}

describe('keyhold generate', () => {
  it('writes the text to stdout, and a summary to stderr', async () => {
    const { code, stdout, stderr } = await keyhold(['generate', PROMPT, '-n', '12', '--seed', '3']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ \S.*\n$/);
    expect(stderr).toMatch(/12 tokens in .* prompt of 6 tokens in .* length reached/);
    expect(stderr).toMatch(/cache \(dense\): holds all 17 tokens/);
    expect(stderr).toMatch(/weights float32 · seed 3/);
  });

  it('gives the same text for the same seed, from argument, file and stdin', async () => {
    const flags = ['-n', '12', '--seed', '3', '-q'];
    const file = join(folder, 'prompt.txt');
    await writeFile(file, `${PROMPT}\r\n`);
    const runs = await Promise.all([
      keyhold(['generate', PROMPT, ...flags]),
      keyhold(['generate', '--prompt-file', file, ...flags]),
      keyhold(['generate', ...flags], { stdin: `${PROMPT}\n` }),
      keyhold(['generate', '-', ...flags], { stdin: PROMPT }),
    ]);
    for (const run of runs) expect(run).toEqual({ code: 0, stdout: runs[0].stdout, stderr: '' });
  });

  it('shows the prompt before the text on a terminal', async () => {
    const flags = ['-n', '4', '--seed', '3'];
    const [shown, plain] = [
      await keyhold(['generate', PROMPT, ...flags], { terminal: 80, env: { NO_COLOR: '1' } }),
      await keyhold(['generate', PROMPT, ...flags]),
    ];
    expect(shown.stdout).toBe(PROMPT + plain.stdout);
  });

  it('drops tokens under a budget, and tells which', async () => {
    const result = await json(PROMPT, '-n', '60', '-c', '32', '--sinks', '2', '--seed', '3');
    expect(result.cache).toMatchObject({ policy: 'lastrec', cacheLength: 32, seen: 65, held: 32, evicted: 33 });
    expect(result.cache.positions).toEqual([
      {
        layers: [0, 1, 2, 3, 4, 5],
        window: null,
        positions: [
          [0, 1],
          [35, 64],
        ],
      },
    ]);
  });

  it('--json says all there is to say', async () => {
    const result = await json(PROMPT, '-n', '8', '--seed', '3');
    expect(Object.keys(result)).toEqual([
      ...['model', 'weights', 'text', 'tokens', 'promptTokens', 'finishReason'],
      ...['sampling', 'timings', 'cache', 'memory'],
    ]);
    expect(result.tokens).toHaveLength(8);
    expect(result.promptTokens).toBe(6);
    expect(result.finishReason).toBe('length');
    // As models/tiny/generation_config.json asks for.
    expect(result.sampling).toEqual({ temperature: 0.8, topP: 0.95, seed: 3 });
    expect(result.timings.tokensPerSecond).toBeGreaterThan(0);
  });

  it('lets flags win over generation_config.json', async () => {
    const sampled = await json('In', '-n', '2', '-t', '0.5', '--top-p', '0.5', '--top-k', '9', '--min-p', '0.1');
    expect(sampled.sampling).toMatchObject({ temperature: 0.5, topP: 0.5, topK: 9, minP: 0.1 });
    expect(sampled.sampling.seed).toBeGreaterThanOrEqual(0);
    const greedy = await json('In', '-n', '2', '-t', '0', '--repetition-penalty', '1.2');
    expect(greedy.sampling).toMatchObject({ temperature: 0, repetitionPenalty: 1.2 });
    expect(greedy.sampling.seed).toBeUndefined();
  });

  it('ends at stop strings, of which there may be several', async () => {
    const all = await json(PROMPT, '-n', '40', '-t', '0');
    const [first, second] = [all.text.slice(5, 9), all.text.slice(20, 24)];
    const result = await json(PROMPT, '-n', '40', '-t', '0', '--stop', second, '--stop', first);
    expect(result).toMatchObject({ finishReason: 'stop', stopString: first, text: all.text.slice(0, 5) });
  });

  it('reads the prompt in chunks, with the same result', async () => {
    const flags = ['-n', '8', '-t', '0'];
    const whole = await json(PROMPT, ...flags);
    expect((await json(PROMPT, ...flags, '--chunk-length', '2')).tokens).toEqual(whole.tokens);
    expect((await json(PROMPT, ...flags, '--weights', 'int8', '--threads', '1')).weights).toBe('int8');
  });

  it('says which flags change nothing', async () => {
    const { stderr } = await keyhold(['generate', 'In', '-n', '1', '-t', '0', '--top-k', '3', '--seed', '1']);
    expect(stderr).toMatch(/note: without effect at temperature 0: --top-k, --seed/);
  });

  it('ends where a dense cache is full, and refuses a prompt that does not fit', async () => {
    const { code, stdout, stderr } = await keyhold(['generate', PROMPT, '-p', 'dense', '-c', '12', '-t', '0']);
    expect(code).toBe(0);
    expect(stdout.length).toBeGreaterThan(5);
    expect(stderr).toMatch(/7 tokens in .* length reached/);
    const tooLong = await keyhold(['generate', PROMPT, '-p', 'dense', '-c', '2', '-t', '0', '--json']);
    expect(tooLong).toMatchObject({ code: 1, stdout: '' });
    expect(tooLong.stderr).toMatch(
      /error: the dense cache holds 0 of 2 tokens.*\n {2}on the command line: --cache-policy lastrec --cache-length 1024\n$/,
    );
  });

  it('stops when it is told to, and tells what was written', async () => {
    const controller = new AbortController();
    const onOutput = (all: string) => {
      if (all.length > 50) controller.abort(new Interrupted(130));
    };
    const args = ['generate', PROMPT, '-n', '100000', '-c', '32'];
    const { code, stdout, stderr } = await keyhold(args, { signal: controller.signal, onOutput });
    expect(code).toBe(130);
    expect(stdout.endsWith('\n')).toBe(true);
    expect(stderr).toMatch(/not finished\ncache .*\nmemory.*\ninterrupted\n$/);
  });

  it('can be stopped while it waits for a prompt', async () => {
    const controller = new AbortController();
    const stdin = new PassThrough();
    stdin.write('And it');
    const running = keyhold(['generate'], { stdin, signal: controller.signal });
    setImmediate(() => controller.abort(new Interrupted(130)));
    expect(await running).toEqual({ code: 130, stdout: '', stderr: 'interrupted\n' });
  });

  it('can be stopped while it loads', async () => {
    const signal = AbortSignal.abort(new Interrupted(130));
    vi.stubEnv('KEYHOLD_CACHE', join(folder, 'other'));
    expect(await keyhold(['generate', 'x'], { signal })).toEqual({ code: 130, stdout: '', stderr: 'interrupted\n' });
    vi.stubEnv('KEYHOLD_CACHE', join(folder, 'cache'));
    expect(await readdir(join(folder, 'other', 'weights')).catch(() => [])).toEqual([]);
  });

  it('has a demo that says what the cache held and dropped', async () => {
    const { code, stdout, stderr } = await keyhold(['generate', '--demo']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('And it came to pass, ');
    expect(stdout).toMatch(/kept +4 +positions 0–3 +the very first \(attention sinks\)/);
    expect(stdout).toMatch(/kept +124 +positions 281–404 +the most recent/);
    expect(stdout).toMatch(/dropped +277 +positions 4–280/);
    expect(stdout).toContain('393 kB of keys and values, and never more');
    expect(stdout.replace(/\s+/g, ' ')).toContain('would take 1.24 MB by now');
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThan(85);
  });

  it('has a demo whose parts can be changed', async () => {
    const flags = ['-p', 'dense', '-c', '100', '-n', '10', '--seed', '1'];
    const { code, stdout } = await keyhold(['generate', '--demo', 'In the beginning', ...flags], { terminal: 60 });
    expect(code).toBe(0);
    expect(stdout).toContain('  In the beginning');
    expect(stdout).toMatch(/policy dense/);
    expect(stdout).not.toContain('dropped');
    expect(JSON.parse((await keyhold(['generate', '--demo', '-n', '3', '--json'])).stdout)).toMatchObject({
      cache: { policy: 'lastrec', cacheLength: 128 },
    });
  });
});

describe('keyhold generate refuses', () => {
  /** Flags and values that they do not take. */
  const values: Readonly<Record<string, readonly string[]>> = {
    '--temperature': ['hot', '-1', '', 'Infinity', '0x'],
    '--top-p': ['0', '1.1', 'NaN'],
    '--min-p': ['-0.1', '2'],
    '--top-k': ['-1', '1.5', '1e3'],
    '--repetition-penalty': ['0'],
    '--seed': ['-1', '9007199254740992'],
    '--cache-length': ['0', 'many'],
    '--chunk-length': ['0'],
    '--max-new-tokens': ['0'],
    '--threads': ['0'],
    '--sinks': ['-1'],
  };
  const flags = Object.entries(values).flatMap(([flag, list]) => list.map((value) => ({ flag, value })));

  it.each(flags)('$flag "$value"', async ({ flag, value }) => {
    const { code, stdout, stderr } = await keyhold(['generate', 'x', `${flag}=${value}`]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`argument '${value}' is invalid. It must be a`);
  });

  const usage: readonly { what: string; args: string[]; message: string }[] = [
    { what: 'an unknown option', args: ['x', '--tempratur', '1'], message: '(Did you mean --temperature?)' },
    {
      what: 'an unknown policy',
      args: ['x', '-p', 'lru'],
      message: 'there is no cache policy "lru"; there are dense,',
    },
    {
      what: 'a policy that is nearly right',
      args: ['x', '-p', 'h20'],
      message: 'did you mean h2o? (a policy of your own is given by its path, such as ./policy.mjs)',
    },
    {
      what: 'an unknown format',
      args: ['x', '-w', 'int3'],
      message: 'Allowed choices are auto, float32, int8, int4, f16,',
    },
    { what: 'sinks that fill the cache', args: ['x', '-c', '4', '--sinks', '4'], message: '--sinks 4 leaves no slot' },
    {
      what: 'sinks for dense',
      args: ['x', '-p', 'dense', '--sinks', '4'],
      message: '--sinks is for policies that evict',
    },
    { what: 'sinks beyond the context', args: ['x', '--sinks', '9999'], message: '9999 sinks leave no slot' },
    { what: 'two prompts', args: ['x', '-f', 'y'], message: 'there are two prompts' },
    {
      what: 'too many words',
      args: ['a', 'b'],
      message: 'there are 2 prompts: put words in quotes together, and name',
    },
    {
      what: 'a model in place of a prompt',
      args: ['models/tiny/model.safetensors'],
      message: 'model.safetensors is a model, not a prompt: keyhold generate -m models/tiny/model.safetensors "In',
    },
    { what: 'no prompt at a terminal', args: [], message: 'there is no prompt' },
    { what: 'an empty stop string', args: ['x', '--stop', ''], message: 'It is empty.' },
  ];

  it.each(usage)('$what', async ({ args, message }) => {
    const { code, stdout, stderr } = await keyhold(['generate', ...args]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: /);
    expect(stderr).toContain(message);
  });

  const wrong: readonly { what: string; args: string[]; message: RegExp; stdin?: Uint8Array }[] = [
    {
      what: 'no folder',
      args: ['x', '-m', './nowhere'],
      message: /^error: \.\/nowhere: does not exist \(looked in .*\)\n$/,
    },
    {
      what: 'no model',
      args: ['x', '-m', 'src/cli/'],
      message: /^error: .*src\/cli.*: is no model: there is no config\.json/,
    },
    { what: 'no checkpoint', args: ['x', '-m', 'package.json'], message: /package\.json: neither a folder nor a / },
    { what: 'no tokenizer', args: ['x', '-m', 'test/fixtures/families/llama'], message: /has no tokenizer\.json/ },
    { what: 'no prompt file', args: ['-f', 'nowhere'], message: /^error: the prompt file nowhere does not exist\n$/ },
    { what: 'a folder as prompt', args: ['-f', 'src'], message: /the prompt file src is a folder/ },
    { what: 'a prompt file of bytes', args: ['-f', 'models/tiny/model.safetensors'], message: /is not UTF-8 text/ },
    { what: 'an empty stdin', args: [], message: /the prompt from stdin is empty/, stdin: new Uint8Array() },
    { what: 'a stdin of bytes', args: [], message: /from stdin is not UTF-8 text/, stdin: Uint8Array.of(0xff, 0xfe) },
  ];

  it.each(wrong)('$what', async ({ args, message, stdin }) => {
    const { code, stdout, stderr } = await keyhold(['generate', ...args], { stdin });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  it.skipIf(process.getuid?.() === 0)('a folder that may not be read', async () => {
    const closed = join(folder, 'closed');
    await mkdir(closed);
    await chmod(closed, 0o000);
    const { code, stderr } = await keyhold(['generate', 'x', '-m', closed]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/no permission/);
  });

  it('a place for weights that can not be written, and says where else', async () => {
    await writeFile(join(folder, 'file'), '');
    vi.stubEnv('KEYHOLD_CACHE', join(folder, 'file'));
    const { code, stderr } = await keyhold(['generate', 'x']);
    vi.stubEnv('KEYHOLD_CACHE', join(folder, 'cache'));
    expect(code).toBe(1);
    expect(stderr).toMatch(/prepared weights can't be stored.*KEYHOLD_CACHE/);
  });

  it('with a stack where it is asked for', async () => {
    const args = ['generate', 'x', '-m', './nowhere'];
    expect((await keyhold([...args, '--verbose'])).stderr).toMatch(/\n.*CheckpointError.*\n +at /);
    expect((await keyhold(args, { env: { KEYHOLD_DEBUG: '1' } })).stderr).toMatch(/\n +at /);
    expect((await keyhold(args)).stderr).not.toMatch(/\n +at /);
  });
});

it('says only what went wrong where nothing was generated', async () => {
  const base = await mkdtemp(join(tmpdir(), 'keyhold-policy-'));
  const path = join(base, 'wrong.mjs');
  await writeFile(path, "export default { name: 'wrong', score: ({ length }) => new Array(length).fill(NaN) };");
  const { code, stdout, stderr } = await keyhold(['generate', 'And it came to pass', '-c', '2', '-p', path]);
  await rm(base, { recursive: true });
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toBe("error: the cache policy's score of position 0 is not a number (policy wrong, layer 0, row 0)\n");
});

it('says where a policy of your own is wrong', async () => {
  const write = async (name: string, text: string) => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  const tries: [string, RegExp][] = [
    [join(folder, 'none.mjs'), /can't be loaded: there is no file .*none.mjs\n/],
    [await write('throws.mjs', "throw new TypeError('no')"), /can't be loaded: no \(at .*throws.mjs:1:\d+\)\n/],
    [await write('import.mjs', "import './nowhere.mjs';"), /Cannot find module .*nowhere.mjs/],
    [await write('three.mjs', 'export default 3;'), /three.mjs exports no cache policy/],
    ['routed(h2o, lru)', /there is no cache policy "lru"/],
    [`mix(h2o, ${join(folder, 'none.mjs')})`, /there is no file .*none.mjs\n/],
  ];
  for (const [policy, message] of tries) {
    const { code, stderr } = await keyhold(['generate', 'x', '-c', '8', '-p', policy]);
    expect(code, policy).toBe(2);
    expect(stderr).toMatch(message);
  }
});
