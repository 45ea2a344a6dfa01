/**
 * @file A model of this process for the AI SDK (LanguageModelV3, which `ai` takes since version 6).
 */
import type { LanguageModelV3, LanguageModelV3CallOptions, LanguageModelV3StreamPart } from '@ai-sdk/provider';
import { checkModelCall, type TextModel } from '../engine/text-model.ts';
import { ServedModel, type ServedModelOptions } from '../server/served-model.ts';
import type { TurnEvent } from '../server/turn.ts';
import { partsOf, wholeOf } from './answer.ts';
import { turnOf } from './call.ts';

/** Options of {@link aiSdkModel}; each has a default. */
export type AiSdkModelOptions = Partial<ServedModelOptions>;

/** Sessions belong to a key; here all callers are one. */
const KEY = '';

/**
 * A model for `generateText`, `streamText`, `generateObject` and the other functions of the AI SDK.
 *
 * Calls that are there at the same time share their steps. `providerOptions.keyhold` chooses a session, a cache class
 * and more ({@link KeyholdCallOptions}).
 * @param model stays the caller's: dispose of it afterwards. With a `ServedModel`, calls and the requests of its server
 *   share their rows and sessions.
 * @param options for a model that is not served: 8 rows, any number of calls that wait, answers of at most 4,096
 * tokens, 16 sessions.
 */
export function aiSdkModel(model: TextModel | ServedModel, options: AiSdkModelOptions = {}): LanguageModelV3 {
  if (!(model instanceof ServedModel)) checkModelCall('aiSdkModel', model, options);
  const served = model instanceof ServedModel ? model : new ServedModel(model, { ...defaults(model), ...options });

  const start = (call: LanguageModelV3CallOptions) => {
    const { turn, warnings } = turnOf(served.id, call);
    served.check(turn);
    const leave = new AbortController();
    const onAbort = () => leave.abort(call.abortSignal!.reason);
    if (call.abortSignal?.aborted) onAbort();
    call.abortSignal?.addEventListener('abort', onAbort, { once: true });
    const events = async function* (): AsyncGenerator<TurnEvent, void, undefined> {
      try {
        for await (const { event } of served.run(turn, KEY, leave.signal)) yield event;
      } finally {
        call.abortSignal?.removeEventListener('abort', onAbort);
      }
    };
    return { parts: partsOf(events()), warnings, leave: () => leave.abort() };
  };
  const response = () => ({ modelId: served.id, timestamp: new Date() });

  return {
    specificationVersion: 'v3',
    provider: 'keyhold',
    modelId: served.id,
    supportedUrls: {},
    async doGenerate(call) {
      const { parts, warnings } = start(call);
      return { ...(await wholeOf(parts)), warnings, response: response() };
    },
    async doStream(call) {
      const { parts, warnings, leave } = start(call);
      // A call that is refused is refused here, and not by its stream.
      const first = await parts.next();
      const opening: LanguageModelV3StreamPart[] = [
        { type: 'stream-start', warnings },
        { type: 'response-metadata', ...response() },
        ...(first.done ? [] : [first.value]),
      ];
      const stream = new ReadableStream<LanguageModelV3StreamPart>({
        async pull(controller) {
          const next = opening.length > 0 ? { done: false as const, value: opening.shift()! } : await parts.next();
          if (next.done) controller.close();
          else controller.enqueue(next.value);
        },
        async cancel() {
          leave();
          await parts.return(undefined);
        },
      });
      return { stream };
    },
  };
}

function defaults(model: TextModel): ServedModelOptions {
  return {
    id: model.name,
    cacheClasses: [{ name: 'default', options: {} }],
    rows: 8,
    queue: Number.POSITIVE_INFINITY,
    // The longest time of a timer: calls wait until their signal ends them.
    queueMs: 2 ** 31 - 1,
    maxTokens: 4096,
    sessions: 16,
    store: null,
    onLoss: () => {},
  };
}
