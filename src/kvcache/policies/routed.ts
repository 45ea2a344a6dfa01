/**
 * @file `routed`: slots for the query groups that read the past.
 */
import { routedPolicy } from '../routing/routed.ts';
import { echo } from './echo.ts';
import { lastRecent } from './last-recent.ts';

/** `routed(echo, lastrec)`, distributed by a calibration of the model. */
export const routed = routedPolicy(echo, lastRecent, 'routed');
