/**
 * @file `routed`: slots for the query groups that read the past.
 */
import { routedPolicy } from '../routed.ts';
import { h2o } from './h2o.ts';
import { leverage } from './leverage.ts';

/** `routed(leverage, h2o)`, distributed by a calibration of the model. */
export const routed = routedPolicy(leverage, h2o, 'routed');
