/**
 * @file What can be known of a checkpoint before its weights are read: the config, the parameters and where each of
 * them comes from.
 */
import type { BasePlan } from '../adapters/base-model.ts';
import { onnxTarget } from '../backends/onnx/target.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { type Config, isEncoder } from '../config/config.ts';
import type { Family } from '../families/family.ts';
import { openConfig } from '../families/open-config.ts';
import type { ReadConfig } from '../families/read-as.ts';
import type { FurtherParts, ModelDefinition } from '../model/context.ts';
import { traceEncoder } from '../model/encoder.ts';
import { traceStep } from '../model/gpt.ts';
import { crossSpec, traceCrossStates } from '../model/mixers/cross-attention.ts';
import { hasFurtherParts } from '../model/parts.ts';
import type { GraphTarget } from '../ops/target.ts';
import { product } from '../util/numbers.ts';
import { ParamResolver } from '../weights/resolve.ts';
import type { Param, RowSource, WeightFormat } from '../weights/types.ts';
import { checkWeightChoice, heldFormat, type WeightChoice } from './weights/weight-choice.ts';

/** Up to this many parameters float32 costs little and changes nothing. */
const SMALL_MODEL = 100e6;

/** Parameters to prepare, and a reader for the rows of each. */
export interface PrepareRequest {
  readonly specs: readonly Param[];
  readonly format: WeightFormat;
  /** Says which checkpoint it is. */
  readonly identity: string;
  readonly source: (spec: Param) => RowSource;
}

/** What is known of a model before its weights are read: config, parameters, and where each of them comes from. */
export interface ModelPlan extends BasePlan, ModelDefinition {
  /** How its checkpoints are read. */
  readonly family: Family;
  /** The engine that the parameters are laid out for. */
  readonly target: GraphTarget;
  /** Number of parameters. */
  readonly parameters: number;
}

export interface PlanOptions {
  readonly choice?: WeightChoice;
  readonly part?: string;
  readonly target?: GraphTarget;
}

/** As `planModel`, without loading the data of all families. */
export async function openPlan(checkpoint: Checkpoint, options: PlanOptions = {}): Promise<ModelPlan> {
  checkWeightChoice(options.choice ?? 'auto');
  const read = await openConfig(checkpoint.config, configName(checkpoint), options.part);
  const parts = hasFurtherParts(read.config) ? (await import('../model/further.ts')).FURTHER : null;
  return planOf(read, parts, checkpoint, options);
}

/** What errors call its config. */
export const configName = ({ name }: Checkpoint): string => `${name}: config.json`;

/**
 * What a checkpoint gives for a config.
 * @throws InputError, CheckpointError: missing and left-over tensors are found here.
 */
export function planOf(
  { config: stated, family }: ReadConfig,
  parts: FurtherParts | null,
  checkpoint: Checkpoint,
  { choice = 'auto', target = onnxTarget }: PlanOptions,
): ModelPlan {
  const config = asStored(stated, new ParamResolver(checkpoint, family, stated));
  const formatFor = (parameters: number) => heldFormat(chooseFormat(choice, parameters, target), target);
  // The checkpoint's size gives the right format nearly always, and saves tracing the model twice.
  const likely = formatFor(countParameters([...checkpoint.tensors.values()]));
  const traced = paramsOf({ config, format: likely, parts }, target);
  const resolver = new ParamResolver(checkpoint, family, config);
  for (const param of traced) resolver.source(param);
  resolver.checkLeftovers();
  const parameters = countParameters(traced);
  const format = formatFor(parameters);
  return {
    config,
    family,
    format,
    parts,
    target,
    params: format === likely ? traced : paramsOf({ config, format, parts }, target),
    parameters,
    resolver,
  };
}

/**
 * What the file holds counts where the config says otherwise. A head in the file is used, although
 * `tie_word_embeddings` is true: fine-tuning tools write both (huggingface/transformers#42612). Without one, the head
 * is tied. A masked language model without its head is the encoder alone.
 */
function asStored(config: Config, resolver: ParamResolver): Config {
  const bare = config.output === 'masked-logits' && !resolver.has('head_dense');
  const hasHead = resolver.has('lm_head');
  return {
    ...config,
    output: bare ? 'hidden' : config.output,
    tieEmbeddings: !hasHead && (config.tieEmbeddings || config.embedRows === config.vocabSize),
  };
}

/** All parameters of a model, as they are stored in this format. They are found by tracing the model. */
export function paramsOf(model: ModelDefinition, target: GraphTarget = onnxTarget): readonly Param[] {
  const { config } = model;
  const options = {
    sharing: 'by-window',
    buffer: 'float32',
    sums: null,
    moments: false,
    cross: true,
  } as const;
  const graphs = isEncoder(config)
    ? [traceEncoder(model, config.output, target)]
    : [traceStep(model, options, target).graph, ...(crossSpec(config) ? [traceCrossStates(model, target)] : [])];
  return [...new Map(graphs.flatMap(({ params }) => [...params])).values()];
}

/**
 * What `auto` stands for in a model of this size.
 * @throws InputError for a choice that there is not.
 */
export function chooseFormat(
  choice: WeightChoice,
  parameters: number,
  {
    float32Parameters = SMALL_MODEL,
    halfParameters = 0,
    int8Parameters = Number.POSITIVE_INFINITY,
  }: Pick<GraphTarget, 'float32Parameters' | 'halfParameters' | 'int8Parameters'> = {},
): WeightFormat {
  checkWeightChoice(choice);
  if (choice === 'f32') return 'float32';
  if (choice !== 'auto') return choice;
  if (parameters <= float32Parameters) return 'float32';
  if (parameters <= halfParameters) return 'f16';
  return parameters <= int8Parameters ? 'int8' : 'int4';
}

export function countParameters(params: readonly { readonly shape: readonly number[] }[]): number {
  return params.reduce((sum, param) => sum + product(param.shape), 0);
}
