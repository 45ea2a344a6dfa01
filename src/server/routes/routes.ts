/**
 * @file The application that routes are added to.
 */
import type { Hono } from 'hono';

/** Each request has the name of its key, and an id. */
export type Routes = Hono<{ Variables: { key: string; id: string } }>;
