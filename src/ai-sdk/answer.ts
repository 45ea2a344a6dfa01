/**
 * @file Events of a turn as the parts that the AI SDK reads.
 */
import type {
  LanguageModelV3Content,
  LanguageModelV3FinishReason,
  LanguageModelV3StreamPart,
  LanguageModelV3Usage,
  SharedV3ProviderMetadata,
} from '@ai-sdk/provider';
import type { TurnEnd, TurnEvent } from '../server/turn.ts';

/** How a call ended. */
interface Finish {
  readonly finishReason: LanguageModelV3FinishReason;
  readonly usage: LanguageModelV3Usage;
  readonly providerMetadata: SharedV3ProviderMetadata;
}

function finishOf({ finish, stopString, usage, cache, timings }: TurnEnd): Finish {
  const { promptTokens, cachedTokens, completionTokens } = usage;
  return {
    finishReason: { unified: finish, raw: stopString ?? finish },
    usage: {
      inputTokens: {
        total: promptTokens,
        noCache: promptTokens - cachedTokens,
        cacheRead: cachedTokens,
        cacheWrite: undefined,
      },
      outputTokens: { total: completionTokens, text: undefined, reasoning: undefined },
    },
    providerMetadata: { keyhold: { cache: { ...cache }, timings: { ...timings } } },
  };
}

type OpenPart =
  | { readonly type: 'text' | 'reasoning'; readonly id: string }
  | { readonly type: 'call'; readonly id: string; readonly name: string; input: string };

/** The parts of a stream. Texts, thoughts and calls have ids, and do not overlap. */
export async function* partsOf(
  events: AsyncIterable<TurnEvent>,
): AsyncGenerator<LanguageModelV3StreamPart, void, undefined> {
  /** What has begun. */
  let open = null as OpenPart | null;
  let count = 0;
  for await (const each of events) {
    switch (each.type) {
      case 'text':
      case 'reasoning':
        if (open?.type !== each.type) {
          yield* endOf(open);
          open = { type: each.type, id: String(count++) };
          yield { type: `${each.type}-start`, id: open.id };
        }
        yield { type: `${each.type}-delta`, id: open.id, delta: each.text };
        break;
      case 'call':
        yield* endOf(open);
        open = { type: 'call', id: each.id, name: each.name, input: '' };
        yield { type: 'tool-input-start', id: each.id, toolName: each.name };
        break;
      case 'arguments':
        if (open?.type !== 'call') break;
        open.input += each.text;
        yield { type: 'tool-input-delta', id: open.id, delta: each.text };
        break;
      case 'end':
        yield* endOf(open);
        yield { type: 'finish', ...finishOf(each) };
    }
  }
}

function* endOf(open: OpenPart | null): Generator<LanguageModelV3StreamPart, void, undefined> {
  if (open?.type === 'call') {
    yield { type: 'tool-input-end', id: open.id };
    yield { type: 'tool-call', toolCallId: open.id, toolName: open.name, input: open.input };
  } else if (open) yield { type: `${open.type}-end`, id: open.id };
}

/** The parts of a stream as one answer. */
export async function wholeOf(parts: AsyncIterable<LanguageModelV3StreamPart>) {
  const content: LanguageModelV3Content[] = [];
  let text = '';
  let finish: Finish | null = null;
  for await (const part of parts) {
    switch (part.type) {
      case 'text-delta':
      case 'reasoning-delta':
        text += part.delta;
        break;
      case 'text-end':
      case 'reasoning-end':
        content.push({ type: part.type === 'text-end' ? 'text' : 'reasoning', text });
        text = '';
        break;
      case 'tool-call':
        content.push(part);
        break;
      case 'finish':
        finish = part as Finish;
    }
  }
  return { content, ...finish! };
}
