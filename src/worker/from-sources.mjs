/**
 * @file The thread of a model where the library runs from its sources, as in its tests: TypeScript has to be read there, too.
 */
import { register } from 'tsx/esm/api';

register();
await import('./thread-node.ts');
