/**
 * @file Routes of models that embed or rank texts.
 */
import type { Context } from 'hono';
import { toHttpError } from '../http-error.ts';
import { type ModelEntry, namesOf } from '../model-entry.ts';
import { entryOf, type Log } from './answer-route.ts';
import { readEmbeddings, type ServedEncoder } from './embeddings.ts';
import { findForTask, type QueuedModel, type Task } from './queued-model.ts';
import { readRerank, readScore, type ServedReranker } from './rerank.ts';
import type { Routes } from './routes.ts';

/** An answer, which says how many tokens were read. */
interface TaskAnswer {
  readonly usage: { readonly prompt_tokens: number };
}

/** The models of a server that write no text. */
export interface Tasks {
  readonly embeddings: Task<ServedEncoder>;
  readonly reranking: Task<ServedReranker>;
}

export const tasksOf = (encoders: readonly ServedEncoder[], rerankers: readonly ServedReranker[]): Tasks => ({
  embeddings: {
    name: 'embeddings',
    models: encoders,
    does: 'embeds texts',
    route: '/v1/embeddings',
    option: '--embeddings',
  },
  reranking: { name: 'ranking', models: rerankers, does: 'ranks texts', route: '/v1/rerank', option: '--rerank' },
});

/** What the routes need of the server. */
export interface TaskRouteContext {
  /** The body of a request that may be answered. */
  readonly readBody: (c: Context) => Promise<unknown>;
  readonly log: Log;
}

export function addTaskRoutes(
  app: Routes,
  models: readonly ModelEntry[],
  tasks: Tasks,
  { readBody, log }: TaskRouteContext,
): void {
  const { embeddings, reranking } = tasks;
  const all = [embeddings, reranking];
  const post = <Served extends QueuedModel, Request extends { readonly model: string }>(
    paths: readonly string[],
    task: Task<Served>,
    read: (json: unknown) => Request,
    answer: (served: Served, request: Request, key: string, signal: AbortSignal) => Promise<TaskAnswer>,
  ): void => {
    for (const path of paths)
      app.post(path, async (c) => {
        const started = performance.now();
        const request = read(await readBody(c));
        const key = c.get('key');
        const served = findForTask(task, namesOf(models, key), all, request.model);
        const { signal } = c.req.raw;
        const report = (end: Readonly<Record<string, unknown>>) =>
          log({ ...entryOf(c, served.id, (performance.now() - started) / 1000), ...end });
        try {
          const body = await answer(served, request, key, signal);
          report({ finish: 'stop', promptTokens: body.usage.prompt_tokens });
          return c.json(body);
        } catch (error) {
          report(signal.aborted ? { finish: 'abort' } : { finish: 'error', error: toHttpError(error).message });
          throw error;
        }
      });
  };
  post(['/v1/embeddings'], embeddings, readEmbeddings, (served, ...given) => served.run(...given));
  post(['/v1/rerank', '/v2/rerank', '/rerank'], reranking, readRerank, (served, ...given) => served.run(...given));
  post(['/v1/score', '/score'], reranking, readScore, (served, ...given) => served.score(...given));
}
