/**
 * @file What a cache asks of a policy. Built-in policies and a user's own are made alike, by {@link definePolicy}.
 */
import type { BufferChoice } from '../buffers.ts';
import type { ChunkOutputs } from '../rows/chunk.ts';
import type { CacheShape } from '../shape.ts';
import type { SlotSharing, SlotStateType } from '../slots/slots.ts';
import type { GroupView } from './group-view.ts';
import type { Need } from './needs.ts';
import type { LayerView } from './view.ts';

/** How a policy wants its slots laid out. */
export interface PolicyLayout {
  /** `by-window`: layers with the same window hold the same positions; `none`: each layer decides for itself. */
  readonly sharing: SlotSharing;
  /** Whether each query group decides for itself. */
  readonly perGroup: boolean;
  /** Numbers kept for each slot, which move with it; the first is its score. */
  readonly slotState: number;
  /** The same in one layer, where that is fewer. @default slotState */
  readonly slotStateOf?: (layer: number) => number;
  /** How these numbers are stored. @default 'float64' */
  readonly slotStateType?: SlotStateType;
  /** Numbers kept for each row: few, as they are copied for each chunk. @default 0 */
  readonly rowState?: number;
  /**
   * Numbers kept for each row and layer, any number: every one is written anew at each chunk that changes them.
   * @default 0
   */
  readonly layerState?: (layer: number) => number;
  /** Slots of a layer's group. @default the cacheLength */
  readonly budget?: (layer: number, group: number) => number;
  /** Whether slots of a layer's group may stand for several tokens. @default none do */
  readonly merges?: (layer: number, group: number) => boolean;
  /** The feedback that a group's keys are rounded with where they are stored in 4 or 5 bits, rotated. @default none */
  readonly feedbackOf?: (layer: number, group: number) => Float32Array | null | undefined;
  /** What is wanted of a group's attention: a step reads groups together that want the same. @default all do */
  readonly needsOf?: (layer: number, group: number) => readonly Need[];
  /**
   * Whether groups may hold more than their budgets while all groups of a row together do not (layers with a window
   * apart).
   * @default false
   */
  readonly followsLength?: boolean;
}

/** The beginning of a chunk, for one row. */
export interface ChunkStart {
  /** Index of the row. */
  readonly row: number;
  /** Position of the chunk's first token. */
  readonly firstPosition: number;
  /** Tokens of the chunk. */
  readonly newTokens: number;
  /** Whether the chunk belongs to a prompt, and whether it is its last one. */
  readonly phase: ChunkOutputs['phase'];
  /** The policy's numbers of the row, to be changed here. */
  readonly rowState: Float64Array;
}

/** A policy, made for one cache. */
export interface Policy {
  /** How it wants its slots laid out. */
  readonly layout: PolicyLayout;
  /** The attention weights that it asks for. */
  readonly needs: readonly Need[];
  /** Those of one group of a layer. */
  needsOf(layer: number, group: number): readonly Need[];
  /** Whether it asks for the moments of the queries before they are rotated. */
  readonly needsQueries: boolean;
  /** Whether it asks for what each key has along the mean of all keys' directions. */
  readonly needsAlongMean: boolean;
  /** Whether it reads keys or values of slots: then the host must have them. */
  readonly reads: boolean;
  /** Whether it does so of a token that comes alone, too. */
  readonly readsSingles: boolean;
  /** Whether it gives tokens up. If not, a full cache is an error. */
  readonly evicts: boolean;
  /** The last chunk of a prompt should have this many tokens; 0: any number. */
  readonly promptTail: number;
  /** Tokens at the start of a sequence that always stay. */
  readonly sinks: number;
  /** Whether what it knows of a slot depends on tokens that came after it. */
  readonly scoredByLater: boolean;
  /** Whether scores of tokens that are held change while tokens come one by one. */
  readonly scoresDecode: boolean;
  /** Whether scores are made anew after a number of tokens, which drafts that are taken back must not be among. */
  readonly refreshes: boolean;
  /** Whether layers may hold more than their budget as long as the sequence is not longer than the cacheLength. */
  readonly startsWhole: boolean;
  /** Called once for each row before its layers are observed. */
  beginChunk?(chunk: ChunkStart): void;
  /** Whether the chunk leaves the numbers of layers as they are. Called after `beginChunk`. @default never */
  keepsLayerState?(chunk: ChunkStart): boolean;
  /** Most chunks one after the other that may do so where it asks for queries. */
  readonly mostKeptChunks: number;
  /** Whether a chunk leaves its numbers of a layer's slots as they are. @default never */
  rests?(view: LayerView): boolean;
  /** Called for each layer after a chunk, before anything is evicted: brings scores up to date. */
  observe?(view: LayerView): void;
  /** Evicts candidates. Called where the layer {@link overflows}, which it must not do afterwards. */
  select(view: LayerView): void;
  /** Whether a layer would hold more than it may. @default some group is over its budget */
  overflows?(view: LayerView): boolean;
  /** How many tokens a layer takes before it overflows. @default the smallest of budget − filled */
  headroom?(filled: Int32Array, budgets: readonly number[]): number;
  /** Most slots that a group of a layer can come to hold. @default its budget */
  maxSlots?(budgets: readonly number[]): number;
  /** Which of a chunk's queries count for a need. @default all; the last one for `last-query` */
  queryRange?(need: Need, newTokens: number): readonly [from: number, to: number];
}

/** The cache that a policy is made for. */
export interface PolicySetup<Options extends object = Readonly<Record<string, unknown>>> {
  /** Layers, groups and sizes of the model. */
  readonly shape: CacheShape;
  /** The options of the cache, those of the policy included. */
  readonly options: Options;
  /** The budget: slots per layer, row and query group. */
  readonly cacheLength: number;
  /** How keys and values are stored. */
  readonly buffer: BufferChoice;
}

/** A policy as the table of policies holds it. */
export interface PolicyEntry {
  /** Its name. */
  readonly name: string;
  /** What it keeps, in a line. */
  readonly summary: string;
  /** Options that it takes, and what they mean. Others are refused by name. */
  readonly options: Readonly<Record<string, string>>;
  /** Makes it for one cache. @throws InputError for options out of range. */
  readonly create: (setup: PolicySetup) => Policy;
  /**
   * The options as a cache keeps them, where they are made of something larger.
   * @throws InputError for options out of range.
   */
  readonly settle?: (setup: Omit<PolicySetup, 'buffer'>) => Readonly<Record<string, unknown>>;
  /** What it has of its own, to be mixed with others; absent: it can't be. */
  readonly rules?: (setup: PolicySetup) => PolicyRules;
}

/** A policy with options of its own, as the functions of `keyhold/policies` give it. */
export interface PolicyChoice {
  /** The policy. */
  readonly entry: PolicyEntry;
  /** Its options. Those of the cache go first. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** What a policy has of its own; all of it is optional. */
export interface PolicyRules {
  /** What it wants to see of the attention; `group.weights` has one array for each, in this order. */
  readonly needs?: readonly Need[];
  /** Those of one group of a layer, where they are fewer: the others may be 0. @default needs */
  readonly needsOf?: (layer: number, group: number) => readonly Need[];
  /** Whether it wants the moments of the queries before they are rotated (`layer.chunk.queries`). @default false */
  readonly needsQueries?: boolean;
  /** Whether it wants what each key has along the mean of all keys' directions (`group.alongMean`). @default false */
  readonly needsAlongMean?: boolean;
  /**
   * Whether it reads keys or values by `readKey` and its kin. @default true for a policy with `score`, `rank`,
   * `keep` or `observe`
   */
  readonly reads?: boolean;
  /** Whether it does so of a token that comes alone, too. @default reads */
  readonly readsSingles?: boolean;
  /** Which layers hold the same positions. @default 'none' */
  readonly sharing?: PolicyLayout['sharing'];
  /** Whether each query group decides for itself. @default true */
  readonly perGroup?: boolean;
  /** Whether it gives tokens up; if not, a full cache is an error. @default true */
  readonly evicts?: boolean;
  /** Whether layers may exceed their budget while the whole sequence fits the cacheLength. @default false */
  readonly startsWhole?: boolean;
  /** Tokens at the start that stay, unless the cache's options say otherwise. @default 0 */
  readonly sinks?: number;
  /** How many of the newest tokens stay, unless the options say otherwise. @default an eighth of the budget */
  readonly recent?: (budget: number) => number;
  /** The same in one layer, phase and group. @default the option */
  readonly recentOf?: (layer: LayerView, recent: number, group: GroupView) => number;
  /** Slots of a layer's group. @default the cacheLength */
  readonly budget?: (layer: number, group: number) => number;
  /** Whether groups may hold more than their budgets while all groups of a row together do not. @default false */
  readonly followsLength?: boolean;
  /** Numbers kept for each slot (`group.slotState`), the score included. @default 1 */
  readonly slotState?: number;
  /** The same in one layer, where that is fewer. @default slotState */
  readonly slotStateOf?: (layer: number) => number;
  /**
   * How they are stored: `float32` takes half of the memory, for scores that are no sums of many steps.
   * @default 'float64'
   */
  readonly slotStateType?: SlotStateType;
  /** Numbers kept for each row (`layer.rowState`), changed by `beginChunk`. @default 0 */
  readonly rowState?: number;
  /**
   * Numbers kept for each row and layer: `layer.nextLayerState` is written from `layer.layerState` at each chunk.
   * @default 0
   */
  readonly layerState?: (layer: number) => number;
  /** The prompt's last chunk should have this many tokens; they are the `window` of `needs`. @default 0 */
  readonly promptTail?: number;
  /** Whether a score, once given, depends on tokens that come later. @default true for a policy with `score` */
  readonly scoredByLater?: boolean;
  /**
   * Whether scores of tokens that are held change while tokens come one by one. Where they do not, all that the policy
   * needs are echoes and sums of chunks, and it reads no keys of single tokens, neither `observe` nor `score` is called
   * for a token that comes alone: it has the score 0. @default scoredByLater
   */
  readonly scoresDecode?: boolean;
  /**
   * Whether scores are made anew after a number of tokens: speculation is refused, as drafts are among them.
   * @default false
   */
  readonly refreshes?: boolean;
  /** Called once for each row when a chunk has come, before its layers. */
  readonly beginChunk?: (chunk: ChunkStart) => void;
  /**
   * Whether a chunk leaves the numbers of all layers as they are: `layer.nextLayerState` is `layer.layerState` then,
   * and the chunk's queries are among `layer.keptQueries` of the first chunk that changes them. Called after
   * `beginChunk`.
   * @default never
   */
  readonly keepsLayerState?: (chunk: ChunkStart) => boolean;
  /**
   * Most chunks one after the other that `keepsLayerState` is asked about: a policy with `needsQueries` keeps the
   * queries of so many.
   * @default 0
   */
  readonly mostKeptChunks?: number;
  /** Called once for each layer, before its groups are scored. */
  readonly observe?: (layer: LayerView) => void;
  /**
   * Called for each group after every chunk, before anything goes. It may change `group.scores`, which move with their
   * slots and start at 0, and may return values to rank the slots by (otherwise the scores): the higher stay.
   */
  readonly score?: (group: GroupView, layer: LayerView) => ArrayLike<number> | undefined;
  /** Fills `group.values` of a group over its budget, by which slots are ranked. @default by `countedQueries` */
  readonly rank?: (group: GroupView, layer: LayerView) => void;
  /**
   * Of scores that are sums over queries: how many queries they are sums of. Slots are ranked by their scores, divided
   * by the number of these queries that could see them.
   * @default 1: by the scores as they are
   */
  readonly countedQueries?: (layer: LayerView) => number;
  /**
   * In place of a ranking: which candidates stay besides sinks and recent tokens, as their indices, at most
   * `group.budget`. Where that is too much together, those named first stay.
   */
  readonly keep?: (group: GroupView, layer: LayerView) => Iterable<number>;
  /**
   * Called for each group of which candidates were evicted: it may merge them into slots that stay, by `group.merge`.
   * Attention counts a slot as often as the tokens that it stands for: `group.scores` holds the natural logarithm of
   * their number, which is added to the slot's attention scores, so it is no score of the policy.
   */
  readonly merge?: (group: GroupView, layer: LayerView) => void;
  /** Whether it merges in this group of a layer. @default true for a policy with `merge` */
  readonly mergesOf?: (layer: number, group: number) => boolean;
  /**
   * What a group's keys are rounded with where they are stored in 4 or 5 bits, rotated: the feedback of
   * `buffers/scale.ts`, rows of a triangle [keySize·(keySize − 1) / 2]; without it each number is rounded by itself.
   * @default none
   */
  readonly feedbackOf?: (layer: number, group: number) => Float32Array | null | undefined;
}
