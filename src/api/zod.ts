// The words of schemas. Awaited whole, zod would be in the program whole, with its messages in all languages.
export {
  boolean,
  enum,
  int,
  maximum,
  minimum,
  minLength,
  optional,
  positive,
  strictObject,
  string,
  unknown,
} from "zod/mini";
