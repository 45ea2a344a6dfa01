/**
 * @file Calls of the AI SDK as turns of a served model.
 */
import type { LanguageModelV3CallOptions, SharedV3Warning } from '@ai-sdk/provider';
import type { AdapterChoice } from '../adapters/choice.ts';
import type { TextFormat } from '../grammar/format.ts';
import { samplingOptions } from '../server/fields.ts';
import type { Turn, TurnTool } from '../server/turn.ts';
import { checkOptionNames, type OptionNames } from '../util/option-names.ts';
import { messagesOf } from './prompt.ts';

/** What `providerOptions.keyhold` may have. */
export interface KeyholdCallOptions {
  /** Names the cache of a conversation: the next call with this name computes only what is new. */
  readonly session?: string;
  /** Name of a cache class. @default the first */
  readonly cache?: string;
  /** Live adapters. @default the model's default adapters */
  readonly adapters?: AdapterChoice;
  /** Other variables of the chat template, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
  /** As the option of `generate`. */
  readonly minP?: number;
  /** As the option of `generate`. */
  readonly repetitionPenalty?: number;
}

const CALL_OPTIONS = {
  session: 'string',
  cache: 'string',
  adapters: true,
  variables: 'object',
  minP: 'number',
  repetitionPenalty: 'number',
} as const satisfies OptionNames<KeyholdCallOptions>;

/**
 * A call as a turn, and what of it has no effect.
 * @throws InputError for prompts that are not text, and for options that do not exist.
 */
export function turnOf(model: string, call: LanguageModelV3CallOptions): { turn: Turn; warnings: SharedV3Warning[] } {
  const own = (call.providerOptions?.['keyhold'] ?? {}) as KeyholdCallOptions;
  checkOptionNames('providerOptions.keyhold', own, CALL_OPTIONS);
  const sampling = samplingOptions(
    {
      temperature: call.temperature,
      top_p: call.topP,
      top_k: call.topK,
      min_p: own.minP,
      repetition_penalty: own.repetitionPenalty,
      frequency_penalty: call.frequencyPenalty,
      presence_penalty: call.presencePenalty,
      seed: call.seed,
      stop: call.stopSequences,
    },
    call.maxOutputTokens,
  );
  const format = formatOf(call.responseFormat);
  const { input, warnings } = toolsOf(call);
  return {
    turn: {
      model,
      input: { messages: messagesOf(call.prompt), variables: own.variables, ...input },
      options: { ...sampling, ...(format ? { format } : {}), ...(own.adapters ? { adapters: own.adapters } : {}) },
      session: own.session ?? null,
      cacheClass: own.cache ?? null,
      singleCall: false,
      answers: 1,
    },
    warnings,
  };
}

function formatOf(format: LanguageModelV3CallOptions['responseFormat']): TextFormat | null {
  if (format?.type !== 'json') return null;
  return format.schema ? { type: 'json_schema', schema: { ...format.schema } } : { type: 'json' };
}

/** Tools in OpenAI's form, which chat templates read. */
function toolsOf({ tools = [], toolChoice }: LanguageModelV3CallOptions) {
  const warnings: SharedV3Warning[] = [];
  const functions = tools.flatMap((tool): TurnTool[] => {
    if (tool.type === 'function') {
      const { name, description, inputSchema, strict } = tool;
      return [{ type: 'function', function: { name, description, parameters: { ...inputSchema }, strict } }];
    }
    warnings.push({ type: 'unsupported', feature: `the provider's tool ${tool.id}` });
    return [];
  });
  const choice = toolChoice?.type === 'tool' ? { name: toolChoice.toolName } : toolChoice?.type;
  const isWanted = functions.length > 0 && choice !== 'none';
  return { input: isWanted ? { tools: functions, toolChoice: choice } : {}, warnings };
}
