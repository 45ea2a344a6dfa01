/**
 * @file `keyhold inspect`: what a model is and what memory it takes, without loading its weights.
 */
import { type Command, Option } from 'commander';
import { type Config, type LayerSpec, type MlpSpec, type SlotSpec, slotSpec } from '../../exports/checkpoint.ts';
import { calibrationMap } from '../../kvcache/routing/calibration-map.ts';
import { addExamples } from '../help.ts';
import {
  addCacheOptions,
  addHubOptions,
  addModelArgument,
  type CacheFlags,
  cacheOptions,
  type HubFlags,
  hubOptions,
  modelOption,
  wholeFrom,
  withModel,
} from '../input/options.ts';
import { type CliIo, shown } from '../io.ts';
import { type Inspection, inspectModel } from '../models/inspection.ts';
import { calibrationLines } from '../output/calibration-view.ts';
import { bytes, counted, parameters, whole } from '../output/format.ts';
import { peakLines } from '../output/peak-lines.ts';
import { Progress } from '../output/progress.ts';
import { type Style, styleOf } from '../output/style.ts';

interface InspectFlags extends HubFlags, CacheFlags {
  readonly model: string;
  readonly context?: number;
  readonly tensors?: boolean;
  readonly json?: boolean;
}

export function addInspect(program: Command, io: CliIo): void {
  const command = program
    .command('inspect')
    .summary('show what a model is, and what memory it takes')
    .description(
      'Shows what a model is and what memory it takes. Weights are not loaded; of a model on the hub that was not ' +
        'downloaded yet, only config.json is fetched, or the header of its GGUF file.',
    )
    .addOption(modelOption())
    .addOption(
      new Option('--context <n>', "tokens to plan the memory for (default: the model's context)").argParser(
        wholeFrom(1),
      ),
    )
    .option('--tensors', 'list all tensors of the checkpoint')
    .option('--json', 'print one JSON object: config, plan, tensors');
  addModelArgument(command);
  addCacheOptions(command);
  addHubOptions(command);
  addExamples(command, [
    ['the small model', 'keyhold inspect'],
    ['a long context in a small cache', 'keyhold inspect Qwen/Qwen3-0.6B --context 100000 --cache-length 2048'],
    ['for a program', 'keyhold inspect --json'],
  ]);
  command.action(async (argument: string | undefined, flags: InspectFlags) => {
    await inspect(withModel(command, argument, flags), io);
  });
}

async function inspect(flags: InspectFlags, io: CliIo): Promise<void> {
  const memory = { contextLength: flags.context, cache: await cacheOptions(flags) };
  const load = { hub: hubOptions(flags, new Progress(io)), signal: io.signal };
  const found = await inspectModel(flags.model, load, memory);
  if (flags.json)
    io.stdout.write(`${JSON.stringify({ ...found, calibration: calibrationFacts(found.calibration) })}\n`);
  else io.stdout.write(`${report(withPlainNames(found, io), flags, styleOf(io.stdout, io.env)).join('\n')}\n`);
}

/** The map in place of the quantiles it is made of. */
const calibrationFacts = (table: Inspection['calibration']) =>
  table && { texts: table.texts, length: table.length, ...calibrationMap(table) };

/** Names in a checkpoint may hold control characters: they are escaped for the terminal. */
function withPlainNames(found: Inspection, io: CliIo): Inspection {
  const tensors = found.tensors?.map((tensor) => ({ ...tensor, name: shown(tensor.name, io.stdout) })) ?? null;
  return { ...found, tensors };
}

function report(found: Inspection, flags: InspectFlags, style: Style): string[] {
  const { config, plan, tensors } = found;
  const section = (title: string, rows: readonly (readonly [string, string])[]) => [
    '',
    style.bold(title),
    ...rows.map(([label, text]) => `  ${style.dim(label.padEnd(LABEL))}${text}`),
  ];
  return [
    `${style.bold(found.model)}  ${config.name}, ${parameters(plan.parameters)} parameters`,
    ...section('Model', modelRows(found)),
    ...section(
      'Checkpoint',
      tensors ? storedRows(tensors) : [['weights', 'not downloaded; this is from config.json alone']],
    ),
    ...(flags.tensors && tensors ? ['', ...tensorLines(tensors, style)] : []),
    ...(found.calibration ? ['', style.bold('Calibration'), ...calibrationLines(found.calibration, style)] : []),
    '',
    style.bold(`Memory for ${counted(plan.contextLength, 'token')}`),
    ...memoryTable(found, style),
    '',
    ...cacheWords(found).map((line) => style.dim(`  ${line}`)),
    '',
    style.bold(`The process at most, with weights in ${plan.format}`),
    ...peakLines(plan, style.dim),
  ];
}

const LABEL = 13;

function modelRows({ config, hasTokenizer, generationConfig }: Inspection): [string, string][] {
  const rows: [string, string][] = [
    ['layers', layerWords(config, ({ mixer }) => mixer?.kind ?? 'no mixer', whole(config.nLayer))],
    ['width', `${whole(config.nEmbd)}, ${layerWords(config, ({ mlp }) => mlpWords(mlp))}`],
    ['attention', layerWords(config, attentionWords) || 'none'],
  ];
  const windows = layerWords(config, ({ mixer }) => windowWords(slotSpec(mixer)));
  if (windows !== '') rows.push(['window', windows]);
  rows.push(
    ['context', `${whole(config.contextLength)} positions (${positionWords(config)})`],
    ['vocabulary', `${whole(config.vocabSize)}${config.tieEmbeddings ? ', one matrix for embedding and head' : ''}`],
  );
  if (hasTokenizer !== null)
    rows.push(['tokenizer', hasTokenizer ? 'yes' : 'none (no tokenizer.json, no vocabulary in GGUF)']);
  const sampling = Object.entries(generationConfig ?? {}).filter(([key]) => SAMPLING_KEYS.includes(key));
  if (sampling.length > 0)
    rows.push(['sampling', sampling.map(([key, value]) => `${key} ${String(value)}`).join(', ')]);
  return rows;
}

const SAMPLING_KEYS = ['do_sample', 'temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty'];

/**
 * What layers are, each kind once; with the number of layers where they differ.
 * @param alike what is said where all are alike.
 */
function layerWords({ layers }: Config, wordsOf: (layer: LayerSpec) => string, alike?: string): string {
  const counts = new Map<string, number>();
  for (const layer of layers) {
    const words = wordsOf(layer);
    if (words !== '') counts.set(words, (counts.get(words) ?? 0) + 1);
  }
  const [[first, count] = ['', 0]] = counts;
  if (counts.size === 1 && count === layers.length) return alike ?? first;
  return [...counts].map(([words, n]) => `${words} in ${n} of ${counted(layers.length, 'layer')}`).join('; ');
}

function attentionWords({ mixer }: LayerSpec): string {
  const slots = slotSpec(mixer);
  if (!slots) return '';
  return `${counted(slots.heads, 'query head')} in ${counted(slots.groups, 'group')}, head size ${slots.keySize}`;
}

const windowWords = (slots: SlotSpec | null): string =>
  slots?.window ? counted(slots.window, 'token') : slots?.chunk ? `chunks of ${counted(slots.chunk, 'token')}` : '';

function mlpWords(mlp: MlpSpec | null): string {
  if (!mlp) return 'no MLP';
  if (mlp.kind !== 'moe') return `MLP ${whole(mlp.size)} (${mlp.activation}${mlp.kind === 'gated' ? ', gated' : ''})`;
  const { experts, router, shared } = mlp;
  const words = `${whole(experts.count)} experts of ${whole(experts.size)}, ${router.perToken} a token`;
  return shared ? `${words}, a shared one of ${whole(shared.size)}` : words;
}

function positionWords({ position, ropes }: Config): string {
  if (position !== 'rope') return position;
  return `rope, ${ropes.map(({ base, scaling }) => `base ${whole(base)}${scaling.type === 'none' ? '' : ` scaled ${scaling.type}`}`).join(' and ')}`;
}

function storedRows(tensors: NonNullable<Inspection['tensors']>): [string, string][] {
  const sizes = new Map<string, number>();
  for (const { dtype, bytes: size } of tensors) sizes.set(dtype, (sizes.get(dtype) ?? 0) + size);
  const kinds = [...sizes].map(([dtype, size]) => `${bytes(size)} of ${dtype}`).join(', ');
  return [['tensors', `${whole(tensors.length)}, ${kinds}`]];
}

function tensorLines(tensors: NonNullable<Inspection['tensors']>, { dim }: Style): string[] {
  const width = Math.max(...tensors.map(({ name }) => name.length));
  return tensors.map(
    ({ name, dtype, shape, bytes: size }) =>
      `  ${name.padEnd(width)}  ${dtype.padEnd(4)}  ${`[${shape.join(', ')}]`.padEnd(16)}  ${dim(bytes(size))}`,
  );
}

function memoryTable({ plan }: Inspection, { dim, green }: Style): string[] {
  const columns = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? `  ${cell.padEnd(LABEL)}` : cell.padStart(12))).join('');
  return [
    dim(columns(['format', 'weights', 'cache', 'together'])),
    ...Object.entries(plan.weights).map(([format, size]) => {
      const cells = columns([format, bytes(size), bytes(plan.cache), bytes(size + plan.cache)]);
      return format === plan.format ? `${cells}  ${green('← auto')}` : cells;
    }),
  ];
}

function cacheWords({ plan }: Inspection): string[] {
  const { perToken, perTokenBeyondWindow, cachePolicy, cacheLength, contextLength, cache, denseCache } = plan;
  const beyond = perTokenBeyondWindow < perToken ? `, ${whole(perTokenBeyondWindow)} beyond the window` : '';
  return [
    `A token takes ${whole(perToken)} bytes of keys and values${beyond}.`,
    cache < denseCache
      ? `The ${cachePolicy} cache keeps ${counted(cacheLength, 'token')}; a dense one would take ${bytes(denseCache)}.`
      : `The ${cachePolicy} cache holds all ${counted(contextLength, 'token')}; with --cache-length it would stay within a budget.`,
  ];
}
