// The words of the schemas of methods, see src/api/zod.ts.

export {
  array,
  extend,
  maxLength,
  minimum,
  nullable,
  number,
  omit,
  record,
  required,
} from "zod/mini";
export {
  boolean,
  enum,
  int,
  maximum,
  minLength,
  optional,
  positive,
  strictObject,
  string,
  union,
  unknown,
} from "../api/zod.ts";
