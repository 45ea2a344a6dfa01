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
  const find = <Served extends QueuedModel>(task: Task<Served>, name: string, key: string) =>
    findForTask(task, namesOf(models, key), [embeddings, reranking], name);

  app.post('/v1/embeddings', async (c) => {
    const request = readEmbeddings(await readBody(c));
    const key = c.get('key');
    return c.json(await find(embeddings, request.model, key).run(request, key, c.req.raw.signal));
  });
  for (const path of ['/v1/rerank', '/v2/rerank', '/rerank'])
    app.post(path, async (c) => {
      const request = readRerank(await readBody(c));
      const key = c.get('key');
      return c.json(await find(reranking, request.model, key).run(request, key, c.req.raw.signal));
    });
  for (const path of ['/v1/score', '/score'])
    app.post(path, async (c) => {
      const request = readScore(await readBody(c));
      const key = c.get('key');
      return c.json(await find(reranking, request.model, key).score(request, key, c.req.raw.signal));
    });
}
