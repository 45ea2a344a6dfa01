/**
 * @file `routed`: slots for the query groups that read the past.
 */
import { routedPolicy } from '../routed.ts';
import { lastRecent } from './last-recent.ts';
import { leverage } from './leverage.ts';

/** `routed(leverage, lastrec)`, distributed by a calibration of the model. */
export const routed = routedPolicy(leverage, lastRecent, 'routed');
