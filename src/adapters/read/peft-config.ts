/**
 * @file adapter_config.json as PEFT 0.4 to 0.21 write it, for LoRA and DoRA. An option that changes what is computed is
 * honoured or refused by name.
 */
import { escaped, Pattern } from './pattern.ts';
import { Settings } from './settings.ts';

export interface PeftConfig {
  /** Name of the model that it was trained on, for messages. */
  readonly base: string | undefined;
  readonly dora: boolean;
  /** Embedding and head of a tied base stay tied when one of them is changed. */
  readonly tied: boolean;
  /** Modules that the adapter holds whole. */
  readonly modulesToSave: readonly string[];
  /** The rank that a module ought to have. */
  rank(module: string): number;
  /** What B·A is multiplied with. */
  scaling(module: string): number;
  /** Whether a module is a target. */
  isTarget(module: BaseTarget): boolean;
}

/** A module as target_modules sees it. */
export interface BaseTarget {
  /** Name in the checkpoint, without `.weight`. */
  readonly name: string;
  readonly layer: number | null;
  readonly isHead: boolean;
  readonly embedding: boolean;
}

const PLAIN_INITS = ['gaussian', 'eva', 'orthogonal'];
const TRAINING = [
  'auto_mapping',
  'base_model_class',
  'corda_config',
  'eva_config',
  'inference_mode',
  'loftq_config',
  'lora_dropout',
  'lora_ga_config',
  'lora_bias', // the tensors say it too
  'bias',
  'fan_in_fan_out', // what the base's own layers are decides
  'megatron_core',
  'parent_library',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
  'task_type',
];

/** @throws AdapterError for what is missing, malformed, or not supported. */
export function readPeftConfig(text: string, where: string): PeftConfig {
  const s = Settings.parse(text, where);
  const type = s.text('peft_type');
  if (type !== 'LORA') throw s.fail('peft_type', `is ${JSON.stringify(type ?? null)}, but only LORA is supported`);
  const init = s.get('init_lora_weights') ?? true;
  if (typeof init !== 'boolean' && !PLAIN_INITS.includes(`${init}`))
    throw s.fail(
      'init_lora_weights',
      `is ${JSON.stringify(init)}, which changed the base's own weights when training began; convert the adapter with PEFT's ` +
        'save_pretrained(…, path_initial_model_for_weight_conversion=…)',
    );
  s.ignore(...TRAINING);
  const r = s.count('r', 8);
  const alpha = s.positive('lora_alpha', 8);
  const rslora = s.bool('use_rslora', false);
  const ranks = patterns(s.numbers('rank_pattern'));
  const alphas = patterns(s.numbers('alpha_pattern'));
  const rank = (module: string) => valueFor(ranks, module) ?? r;
  const config: PeftConfig = {
    base: s.text('base_model_name_or_path'),
    dora: s.bool('use_dora', false),
    tied: s.bool('ensure_weight_tying', false) && namesEmbedding(s),
    modulesToSave: s.texts('modules_to_save') ?? [],
    rank,
    scaling: (module) => (valueFor(alphas, module) ?? alpha) / (rslora ? Math.sqrt(rank(module)) : rank(module)),
    isTarget: targetTest(s),
  };
  s.checkUnused();
  return config;
}

/** What PEFT takes for an embedding or its head, by the ends of their names. */
const EMBEDDINGS = ['embed_tokens', 'lm_head'];

function namesEmbedding(s: Settings): boolean {
  const ends = (names: readonly string[] | undefined) =>
    names?.some((name) => EMBEDDINGS.includes(name.split('.').at(-1)!));
  const targets = s.get('target_modules');
  if (ends(s.texts('modules_to_save'))) return true;
  if (typeof targets === 'string') return EMBEDDINGS.some((name) => new Pattern(targets).matchesAll(name));
  return ends(s.texts('target_modules')) ?? false;
}

type ByPattern = readonly [Pattern, number][];

function patterns(entries: readonly [string, number][]): ByPattern {
  return entries.map(([key, value]) => [new Pattern(String.raw`(.*\.)?(${key})$`), value]);
}

function valueFor(values: ByPattern, module: string): number | undefined {
  return values.find(([pattern]) => pattern.matchesStart(module))?.[1];
}

function targetTest(s: Settings): PeftConfig['isTarget'] {
  const targets = nameTest(s, 'target_modules');
  const excluded = nameTest(s, 'exclude_modules');
  const allLinear = s.get('target_modules') === 'all-linear';
  const saved = (s.texts('modules_to_save') ?? []).map(
    (name) => new Pattern(String.raw`(^|.*\.)${escaped(name)}($|\..*)`),
  );
  const layers = s.get('layers_to_transform');
  if (layers !== undefined && ![layers].flat().every((l) => Number.isInteger(l)))
    throw s.fail('layers_to_transform', 'must be a layer or a list of layers');
  const chosen = layers === undefined || [layers].flat().length === 0 ? null : new Set([layers].flat() as number[]);
  s.ignore('layers_pattern'); // the family knows which modules are layers
  return ({ name, layer, isHead, embedding }) => {
    if (excluded(name) || saved.some((pattern) => pattern.matchesStart(name))) return false;
    if (chosen && (layer === null || !chosen.has(layer))) return false;
    return allLinear ? !isHead && !embedding : targets(name);
  };
}

/** A list of names or ends of names, or a pattern for whole names. */
function nameTest(s: Settings, key: string): (name: string) => boolean {
  const value = s.get(key);
  if (value === undefined) return () => false;
  if (typeof value === 'string') {
    if (value === 'all-linear') return () => true;
    const pattern = new Pattern(value);
    return (name) => pattern.matchesAll(name);
  }
  const names = s.texts(key)!;
  return (name) => names.some((end) => name === end || name.endsWith(`.${end}`));
}
