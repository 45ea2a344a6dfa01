/**
 * @file `npm run bench:clients -- MODEL.gguf [CLIENTS] [TOKENS] [WEIGHTS]`: tokens a second of clients that ask at the
 * same time, each for an answer to a prompt of its own: `keyhold serve` over HTTP, and node-llama-cpp with a sequence
 * for each client in one context, in its process. KEYHOLD_BENCH_LLAMA_SERVER names a llama-server to take in place of
 * node-llama-cpp, over HTTP too. Both sides have the file, the threads, prompts of 64 tokens and greedy choice; sides
 * take turns, and the best of the rounds counts. WEIGHTS is the format of ours: the file's own, such as q4_1, rounds
 * activations as the peer does (the default of small models does not).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../test/support/free-port.ts';

const [file, clients = 8, tokens = 64] = [process.argv[2], ...process.argv.slice(3, 5).map(Number)] as [
  string | undefined,
  number?,
  number?,
];
if (!file) throw new Error('usage: npm run bench:clients -- MODEL.gguf [CLIENTS] [TOKENS] [WEIGHTS]');
const weights = process.argv[5] ?? 'auto';
const THREADS = availableParallelism();
const PROMPT = 64;
const ROUNDS = 3;
const MAIN = join(import.meta.dirname, '../src/cli/main.ts');

/** The same ids on both sides; a round has prompts of its own, so that no cache has seen them. */
const promptOf = (round: number, client: number): number[] =>
  Array.from({ length: PROMPT }, (_, i) => 100 + ((i * 7919 + client * 104_729 + round * 15_485_863) % 10_000));

interface Side {
  readonly name: string;
  /** Answers all prompts. @returns tokens that were written. */
  run(prompts: readonly number[][]): Promise<number>;
  close(): Promise<void>;
}

async function keyhold(): Promise<Side> {
  const length = String(2 * (PROMPT + tokens));
  const flags = ['--port', '0', '--name', 'm', '--parallel', String(clients), '--threads', String(THREADS)];
  const args = [
    '--import',
    'tsx',
    MAIN,
    'serve',
    file!,
    ...flags,
    '-c',
    length,
    '-p',
    'dense',
    '--weights',
    weights,
    '--quiet',
  ];
  const server: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const url = await new Promise<string>((resolve, reject) => {
    let said = '';
    server.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      const found = /served at (\S+)/.exec(said)?.[1];
      if (found) resolve(found);
    });
    server.once('exit', () => reject(new Error(`keyhold serve has ended: ${said}`)));
  });
  return overHttp('keyhold serve', server, async (prompt) => {
    const wanted = { max_tokens: tokens, temperature: 0, ignore_eos: true, stream: true };
    const body = { model: 'm', prompt, ...wanted, stream_options: { include_usage: true } };
    return (await lastEvent(`${url}/completions`, body)).usage.completion_tokens;
  });
}

/** The last event of a streamed answer. */
async function lastEvent(url: string, body: object) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  const events = (await response.text()).split('\n\n').filter((each) => each.startsWith('data: {'));
  return JSON.parse(events.at(-1)!.slice(6));
}

/** @param ask answers a prompt. Gives the tokens that were written. */
function overHttp(name: string, server: ChildProcess, ask: (prompt: readonly number[]) => Promise<number>): Side {
  return {
    name,
    run: async (prompts) => (await Promise.all(prompts.map(ask))).reduce((a, b) => a + b),
    async close() {
      const ended = new Promise((resolve) => server.once('close', resolve));
      server.kill('SIGTERM');
      await ended;
    },
  };
}

/** The little of node-llama-cpp that is used, as in peer.ts. */
interface Sequence {
  clearHistory(): Promise<void>;
  evaluate(tokens: number[], options: { temperature: number; yieldEogToken: boolean }): AsyncGenerator<number, void>;
}
interface NodeLlamaCpp {
  getLlama(options: object): Promise<{
    loadModel(options: { modelPath: string }): Promise<{
      createContext(options: object): Promise<{ getSequence(): Sequence; dispose(): Promise<void> }>;
    }>;
  }>;
}

async function nodeLlamaCpp(): Promise<Side> {
  const packageName: string = 'node-llama-cpp';
  const { getLlama } = (await import(packageName)) as NodeLlamaCpp;
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: THREADS });
  const model = await llama.loadModel({ modelPath: file! });
  const context = await model.createContext({
    ...{ contextSize: 2 * (PROMPT + tokens), sequences: clients, batchSize: 512 },
    threads: { ideal: THREADS, min: 1 },
  });
  const sequences = Array.from({ length: clients }, () => context.getSequence());
  const answer = async (sequence: Sequence, prompt: number[]): Promise<number> => {
    await sequence.clearHistory();
    let count = 0;
    for await (const _ of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true }))
      if (++count === tokens) break;
    return count;
  };
  return {
    name: 'node-llama-cpp',
    run: async (prompts) =>
      (await Promise.all(prompts.map((prompt, i) => answer(sequences[i], [...prompt])))).reduce((a, b) => a + b),
    close: () => context.dispose(),
  };
}

async function llamaServer(path: string): Promise<Side> {
  const port = await freePort();
  const length = 2 * (PROMPT + tokens) * clients;
  const args = ['-m', file!, '--port', port, '-t', THREADS, '-np', clients, '-c', length].map(String);
  const server = spawn(path, args, { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  const isReady = () =>
    fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  for (const deadline = Date.now() + 60_000; !(await isReady()); await sleep(100))
    if (server.exitCode !== null || Date.now() > deadline) throw new Error(`${path} does not start`);
  return overHttp('llama-server', server, async (prompt) => {
    const wanted = { n_predict: tokens, temperature: 0, ignore_eos: true, stream: true, cache_prompt: false };
    return (await lastEvent(`${url}/completion`, { prompt, ...wanted })).tokens_predicted;
  });
}

const binary = process.env.KEYHOLD_BENCH_LLAMA_SERVER;
const sides = [await keyhold(), binary ? await llamaServer(binary) : await nodeLlamaCpp()];
const best = new Map<string, number>();
for (let round = 0; round <= ROUNDS; round++)
  for (const side of sides) {
    const prompts = Array.from({ length: clients }, (_, client) => promptOf(round, client));
    const start = performance.now();
    const written = await side.run(prompts);
    const rate = (1000 * written) / (performance.now() - start);
    if (written !== clients * tokens) throw new Error(`${side.name} wrote ${written} tokens of ${clients * tokens}`);
    // The first round warms up.
    if (round > 0) best.set(side.name, Math.max(best.get(side.name) ?? 0, rate));
  }
for (const { name } of sides) console.log(`${name}: ${best.get(name)!.toFixed(1)} tokens/s of ${clients} clients`);
const [ours, theirs] = sides.map(({ name }) => best.get(name)!);
console.log(`ratio ${(ours / theirs).toFixed(2)}`);
for (const side of sides) await side.close();
process.exit(0);
