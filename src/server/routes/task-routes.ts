/**
 * @file Routes of models that embed or rank texts.
 */
import type { Context } from 'hono';
import { type ModelEntry, namesOf } from '../model-entry.ts';
import { readEmbeddings, type ServedEncoder } from './embeddings.ts';
import { findForTask, type QueuedModel, type Task } from './queued-model.ts';
import { readRerank, readScore, type ServedReranker } from './rerank.ts';
import type { Routes } from './routes.ts';

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

/** @param readBody of a request that may be answered. */
export function addTaskRoutes(
  app: Routes,
  models: readonly ModelEntry[],
  tasks: Tasks,
  readBody: (c: Context) => Promise<unknown>,
): void {
  const { embeddings, reranking } = tasks;
  const all = [embeddings, reranking];
  const post = <Served extends QueuedModel, Request extends { readonly model: string }>(
    paths: readonly string[],
    task: Task<Served>,
    read: (json: unknown) => Request,
    answer: (served: Served, request: Request, key: string, signal: AbortSignal) => Promise<object>,
  ): void => {
    for (const path of paths)
      app.post(path, async (c) => {
        const request = read(await readBody(c));
        const key = c.get('key');
        const served = findForTask(task, namesOf(models, key), all, request.model);
        return c.json(await answer(served, request, key, c.req.raw.signal));
      });
  };
  post(['/v1/embeddings'], embeddings, readEmbeddings, (served, ...given) => served.run(...given));
  post(['/v1/rerank', '/v2/rerank', '/rerank'], reranking, readRerank, (served, ...given) => served.run(...given));
  post(['/v1/score', '/score'], reranking, readScore, (served, ...given) => served.score(...given));
}
