/**
 * @file `keyhold/server`: an HTTP server of OpenAI's and Anthropic's protocols.
 */
export { type AppOptions, createApp, type ServerApp } from '../server/app.ts';
export type { CacheClass } from '../server/cache-classes.ts';
export { keyName } from '../server/keys-node.ts';
export { type ModelEntry, type ModelLease, OnDemandModel, type OnDemandOptions } from '../server/model-entry.ts';
export { type Embedder, ServedEncoder } from '../server/routes/embeddings.ts';
export type { QueuedModelOptions, TaskModel } from '../server/routes/queued-model.ts';
export { ServedReranker, type TextRanker } from '../server/routes/rerank.ts';
export { type RunningServer, type ServeOptions, serve } from '../server/serve-node.ts';
export { ServedModel, type ServedModelOptions } from '../server/served-model.ts';
export type { SessionStore } from '../server/sessions/sessions.ts';
export { folderStore } from '../server/sessions/store-folder-node.ts';
export { type S3Credentials, type S3StoreOptions, s3Store } from '../server/sessions/store-s3.ts';
