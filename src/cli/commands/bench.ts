/**
 * @file `keyhold bench`: how fast a model is on this machine, and with which settings it is fastest.
 */
import { type Command, Option } from 'commander';
import { settingsOf } from '../../eval/speed.ts';
import { planMemory, type WeightFormat } from '../../exports/checkpoint-node.ts';
import {
  measureSpeed,
  type SpeedChoices,
  type SpeedResult,
  type SpeedSearch,
  type SpeedSettings,
  searchSpeed,
} from '../../exports/eval.ts';
import type { AnyCacheOptions, BufferKind } from '../../exports/policies.ts';
import type { LanguageModel } from '../../index.ts';
import { usableCores } from '../../util/machine-node.ts';
import { addExamples } from '../help.ts';
import {
  addCacheOptions,
  addHubOptions,
  addLoadOptions,
  addModelArgument,
  asUsage,
  type CacheFlags,
  cacheOptions,
  chunkLengthOption,
  hubOptions,
  type LoadFlags,
  wholeFrom,
  withModel,
} from '../input/options.ts';
import { type CliIo, write } from '../io.ts';
import { calibrateForCommand, loadForCommand } from '../models/load.ts';
import { type BenchReport, benchLines } from '../output/bench-view.ts';
import { Progress } from '../output/progress.ts';
import { styleOf } from '../output/style.ts';

interface BenchFlags extends LoadFlags, CacheFlags {
  readonly prompt?: number;
  readonly new?: number;
  readonly rounds?: number;
  readonly chunkLength?: number;
  readonly quick?: boolean;
  readonly json?: boolean;
}

const CHUNKS: readonly number[] = [64, 128, 256, 512];
const KINDS: readonly BufferKind[] = ['float32', 'float16', 'int8'];

export function addBench(program: Command, io: CliIo): void {
  const command = program
    .command('bench')
    .summary('measure how fast a model is on this machine')
    .description(
      'Measures how fast a model computes prompts and generates tokens on this machine, with the given cache. Then it looks ' +
        'for the fastest settings: threads, weight formats that are prepared already, chunk lengths, and how the ' +
        'cache stores keys and values.',
    )
    .addOption(new Option('--prompt <n>', 'tokens of the prompt (default: 512)').argParser(wholeFrom(1)))
    .addOption(new Option('--new <n>', 'tokens to generate after it (default: 32)').argParser(wholeFrom(1)))
    .addOption(
      new Option('--rounds <n>', 'number of measurements, of which the medians are shown (default: 3)').argParser(
        wholeFrom(1),
      ),
    )
    .option('--quick', 'measure the given settings only')
    .option('--json', 'print one JSON object');
  addModelArgument(command);
  addLoadOptions(command);
  addCacheOptions(command).addOption(chunkLengthOption());
  addHubOptions(command);
  addExamples(command, [
    ['the small model as it comes', 'keyhold bench --quick'],
    ['what is fastest for a model that you use', 'keyhold bench Qwen/Qwen3-0.6B -w int4'],
    ['a cache of 512 tokens, for a program', 'keyhold bench -p h2o -c 512 --prompt 2000 --quick --json'],
  ]);
  command.action(async (argument: string | undefined, flags: BenchFlags) => {
    await bench(withModel(command, argument, flags), io);
  });
}

async function bench(flags: BenchFlags, io: CliIo): Promise<void> {
  const cache = await cacheOptions(flags);
  const progress = new Progress(io);
  const desk = new Desk(flags, cache, io, progress);
  try {
    const model = await desk.load(flags.threads, flags.weights);
    await calibrateForCommand(model, cache, io, progress);
    asUsage(() => model.createCache(cache));
    const given = {
      threads: flags.threads ?? usableCores(),
      weights: model.weights,
      chunkLength: flags.chunkLength,
      buffer: cache.buffer ?? 'float32',
    };
    const asked = await desk.measure(given, 'Measuring');
    const begin: SpeedSettings = { ...given, chunkLength: asked.chunkLength };
    // The peak of this process, before it tries anything else.
    const peakBytes = process.resourceUsage().maxRSS * 1024;
    const length = asked.promptTokens + asked.newTokens;
    const plan = planMemory(model.config, {
      contextLength: length,
      cache,
      weights: model.weights,
      chunkLength: begin.chunkLength,
      tokenizer: model.hasTokenizer,
    });
    const search = flags.quick ? null : await desk.search(begin, asked);
    progress.end();
    const report: BenchReport = {
      model: flags.model,
      settings: begin,
      cache: { policy: plan.cachePolicy, cacheLength: flags.cacheLength ?? length },
      speed: asked,
      memory: { peakBytes, estimateBytes: plan.total[model.weights], cacheBytes: asked.cacheBytes },
      search,
    };
    const lines = flags.json ? [JSON.stringify(report)] : benchLines(report, styleOf(io.stdout, io.env));
    await write(io, `${lines.join('\n')}\n`);
  } finally {
    progress.end();
    await desk.clear();
  }
}

/** Settings that are to be measured. */
type Given = Omit<SpeedSettings, 'chunkLength'> & { readonly chunkLength?: number };

/** Where models are measured, one at a time. */
class Desk {
  readonly #flags: BenchFlags;
  readonly #cache: Partial<AnyCacheOptions>;
  readonly #io: CliIo;
  readonly #progress: Progress;
  #model: LanguageModel | null = null;
  #key = '';

  constructor(flags: BenchFlags, cache: Partial<AnyCacheOptions>, io: CliIo, progress: Progress) {
    this.#flags = flags;
    this.#cache = cache;
    this.#io = io;
    this.#progress = progress;
  }

  /** Loads the model with these settings, and disposes of the one before. */
  async load(threads: number | undefined, weights: LoadFlags['weights']): Promise<LanguageModel> {
    await this.clear();
    this.#model = await loadForCommand({ ...this.#flags, threads, weights }, this.#io, this.#progress);
    this.#key = keyOf(threads ?? usableCores(), this.#model.weights);
    return this.#model;
  }

  /** @param settings without a length of chunks: what a prompt has by default. */
  async measure(settings: Given, label: string | null): Promise<SpeedResult> {
    const { threads, weights, chunkLength, buffer } = settings;
    const model =
      this.#model && this.#key === keyOf(threads, weights) ? this.#model : await this.load(threads, weights);
    const { prompt: promptTokens, new: newTokens, rounds } = this.#flags;
    const options = { promptTokens, newTokens, rounds, chunkLength, cache: { ...this.#cache, buffer } };
    return measureSpeed(model, {
      ...options,
      signal: this.#io.signal,
      onRound: (done, total) => label !== null && this.#progress.update({ label, done, total, unit: 'runs' }),
    });
  }

  /** What is fastest: of what may be chosen, where the flags leave a choice. */
  async search(begin: SpeedSettings, asked: SpeedResult): Promise<SpeedSearch> {
    const { threads, chunkLength, cacheBuffer } = this.#flags;
    const choices: SpeedChoices = {
      threads: threads === undefined ? threadCounts(usableCores()) : [],
      weights: await this.#formats(begin.weights),
      // Chunks longer than the prompt are all the same.
      chunkLength:
        chunkLength === undefined ? CHUNKS.filter((_, i) => i === 0 || CHUNKS[i - 1] < asked.promptTokens) : [],
      buffer: cacheBuffer === undefined ? KINDS : [],
    };
    const known = JSON.stringify(settingsOf(begin));
    return searchSpeed(
      begin,
      choices,
      async (settings) => (JSON.stringify(settingsOf(settings)) === known ? asked : this.measure(settings, null)),
      (done, total) => this.#progress.update({ label: 'Looking for the fastest', done, total, unit: 'runs' }),
    );
  }

  /** Gives the model back. */
  async clear(): Promise<void> {
    const model = this.#model;
    this.#model = null;
    await model?.dispose();
  }

  /** The formats that are there already: nothing is prepared for a search. */
  async #formats(asked: WeightFormat): Promise<readonly WeightFormat[]> {
    // Adapters are merged into weights of their own.
    if (this.#flags.adapter !== undefined) return [asked];
    const { preparedFormats } = await import('../../load/load-model-node.ts');
    return preparedFormats(this.#flags.model, {
      hub: hubOptions(this.#flags, this.#progress),
      signal: this.#io.signal,
    });
  }
}

const keyOf = (threads: number, weights: WeightFormat): string => `${threads} ${weights}`;

/** 1, 2, 4, … and all of them; each one where they are few. */
function threadCounts(cores: number): number[] {
  const few = Array.from({ length: Math.min(cores, 8) }, (_, i) => i + 1);
  const many = [12, 16, 24, 32, 48, 64, 96, 128].filter((n) => n < cores);
  return [...new Set([...few, ...many, cores])];
}
