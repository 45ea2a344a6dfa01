/**
 * @file What a request asks for, whatever protocol it came in, and what is told while it is answered.
 */
import type { GenerateOptions, Usage } from '../engine/options.ts';
import type { TextCache } from '../engine/text-model.ts';

/** How the text is chosen: what `generate` takes, without what the server decides. */
export type TurnOptions = Omit<
  GenerateOptions<TextCache>,
  'cache' | 'reusePrefix' | 'signal' | 'onPrefill' | 'tools' | 'variables' | 'template' | 'templateName' | 'processors'
>;

/** Tokens of an answer at most. @param allowed by the server. */
export const mostTokens = ({ maxNewTokens }: TurnOptions, allowed: number): number =>
  Math.min(maxNewTokens ?? allowed, allowed);

/** One request for text. */
export interface Turn {
  /** Name of a served model. */
  readonly model: string;
  /** Messages to answer, or a text or token ids to continue. */
  readonly input:
    | {
        readonly messages: readonly TurnMessage[];
        readonly tools?: readonly TurnTool[];
        /** Which tool must be called. @default 'auto': the model decides */
        readonly toolChoice?: 'auto' | 'required' | { readonly name: string };
        /** Other variables of the chat template. */
        readonly variables?: Readonly<Record<string, unknown>>;
      }
    | { readonly prompt: string | readonly number[] };
  readonly options: TurnOptions;
  /** The field of the request that says `options.format`, for errors. @default 'response_format' */
  readonly formatField?: string;
  /** Names the cache of a conversation; null: none is kept. */
  readonly session: string | null;
  /** Names a session of its own, which no request waits for. @default none */
  readonly user?: string | null;
  /** Name of a class of caches; null: the first. */
  readonly cacheClass: string | null;
  /** Only the first call of a tool is wanted. */
  readonly singleCall: boolean;
  /** The prompt is repeated before the answer, with its log probabilities where those of the answer are asked for. */
  readonly echo?: boolean;
  /** Answers to the same prompt. The prompt is computed once. */
  readonly answers: number;
}

/** A tool, as chat templates read it. */
export interface TurnTool {
  readonly type: 'function';
  readonly function: {
    readonly name: string;
    readonly description?: string | null;
    /** A JSON schema. @default no arguments */
    readonly parameters?: Readonly<Record<string, unknown>> | null;
    /** Calls are kept to the schema by a grammar. @default false */
    readonly strict?: boolean | null;
  };
}

/** A message, as chat templates read it. */
export interface TurnMessage {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

/** A token, with the most likely ones at its position. */
export interface TurnToken extends LikelyToken {
  readonly top: readonly LikelyToken[];
}

/** A token of a prompt that is repeated. */
export interface PromptToken extends LikelyToken<number | null> {
  /** None for the first, before which there is none. */
  readonly top: readonly LikelyToken[];
  /** Characters of the text before it. */
  readonly offset: number;
}

/** A token by its text: `bytes:\xf0\x9f` where it is a part of a character. */
export interface LikelyToken<Logprob = number> {
  readonly text: string;
  /** In UTF-8. */
  readonly bytes: Uint8Array;
  readonly logprob: Logprob;
}

/** An event of one of several answers. */
export interface ChoiceEvent {
  readonly index: number;
  readonly event: TurnEvent;
}

export type TurnEvent =
  /** The prompt, before all else, where it is to be repeated; `tokens` only where log probabilities were asked for. */
  | { readonly type: 'prompt'; readonly text: string; readonly tokens?: readonly PromptToken[] }
  /** `tokens` only where log probabilities were asked for. */
  | { readonly type: 'text' | 'reasoning'; readonly text: string; readonly tokens?: readonly TurnToken[] }
  /** A call of a tool begins. */
  | { readonly type: 'call'; readonly id: string; readonly name: string }
  /** The next piece of the JSON of the last call's arguments. */
  | { readonly type: 'arguments'; readonly text: string }
  | TurnEnd;

/** How a turn ended. */
export interface TurnEnd {
  readonly type: 'end';
  readonly finish: 'stop' | 'length' | 'tool-calls';
  /** The stop string that ended it. */
  readonly stopString: string | null;
  /** The prompt of several answers is counted by the first of them. */
  readonly usage: Usage;
  /** Tokens of thoughts, among those of the answer. Those of markers are counted with what they begin or end. */
  readonly reasoningTokens: number;
  readonly cache: { readonly class: string; readonly held: number; readonly evicted: number; readonly bytes: number };
  readonly timings: { readonly queueMs: number; readonly prefillMs: number; readonly decodeMs: number };
}
