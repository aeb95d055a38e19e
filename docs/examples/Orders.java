// The sample projection of orders in Java 17: `-p "cmd:java Orders.java"`, nothing to compile.
// It speaks refold's worker protocol, version 1, which ../protocol.md describes.

import java.io.*;
import java.math.*;
import java.nio.charset.StandardCharsets;
import java.util.*;

public class Orders {
    static final Map<String, Map<String, Object>> documents = new HashMap<>();

    /** Changes the order; false for an event that isn't ours. */
    static boolean apply(Map<String, Object> order, String type, Map<String, Object> data) {
        switch (type) {
            case "ItemAdded" -> {
                Map<String, Object> fresh = Json.object("qty", BigDecimal.ZERO, "price", data.get("price"));
                Map<String, Object> item = map(map(order.get("items")).computeIfAbsent((String) data.get("sku"), k -> fresh));
                item.put("qty", number(item, "qty").add(number(data, "qty")));
                order.put("total", goods(order));
            }
            case "ItemRemoved" -> {
                Map<String, Object> items = map(order.get("items")), item = map(items.get(data.get("sku")));
                item.put("qty", number(item, "qty").subtract(number(data, "qty")));
                if (number(item, "qty").signum() <= 0) items.remove(data.get("sku"));
                order.put("total", goods(order));
            }
            case "OrderPlaced" -> {
                order.put("status", "placed");
                order.put("total", data.get("total"));
                order.put("shipping", data.getOrDefault("shipping", BigDecimal.ZERO));
                order.put("currency", data.getOrDefault("currency", "EUR"));
            }
            case "PaymentCaptured" -> {
                order.put("paid", number(order, "paid").add(number(data, "amount")));
                if (order.get("status").equals("placed")) order.put("status", "paid");
            }
            case "RefundIssued" -> {
                order.put("refunded", number(order, "refunded").add(number(data, "amount")));
                if (number(order, "refunded").compareTo(number(order, "paid")) >= 0) order.put("status", "refunded");
            }
            case "OrderShipped" -> { order.put("status", "shipped"); order.put("tracking", data.get("tracking")); }
            case "OrderCancelled" -> { order.put("status", "cancelled"); order.put("reason", data.get("reason")); }
            default -> { return false; }
        }
        return true;
    }

    static BigDecimal goods(Map<String, Object> order) {
        return map(order.get("items")).values().stream().map(Orders::map)
            .map(item -> number(item, "qty").multiply(number(item, "price"))).reduce(BigDecimal.ZERO, BigDecimal::add);
    }

    static Map<String, Object> created(String key) {
        BigDecimal none = BigDecimal.ZERO;
        return Json.object("order", key, "status", "cart", "items", Json.object(), "total", none,
            "shipping", none, "currency", "EUR", "paid", none, "refunded", none);
    }

    static Map<String, Object> handled(Map<String, Object> event) {
        Object offset = event.get("offset");
        String stream = (String) event.get("stream"), type = String.valueOf(event.get("type"));
        // A handler that fails must leave its document as it was, so it works on a copy.
        Map<String, Object> order = documents.containsKey(stream)
            ? map(Json.read(Json.write(documents.get(stream)))) : created(stream);
        try {
            if (!apply(order, type, map(event.get("data")))) return Json.object("offset", offset, "skipped", true);
        } catch (RuntimeException error) {
            StringWriter trace = new StringWriter();
            error.printStackTrace(new PrintWriter(trace));
            return Json.object("offset", offset, "key", stream, "error", String.valueOf(error), "traceback", trace.toString());
        }
        documents.put(stream, order);
        return Json.object("offset", offset, "changes", Json.object(stream, order));
    }

    public static void main(String[] arguments) throws IOException {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        for (String line; (line = in.readLine()) != null; ) {
            Map<String, Object> message = map(Json.read(line));
            if (message.containsKey("document")) {
                documents.put((String) message.get("document"), map(message.get("state")));
                continue;
            }
            out.print(Json.write(message.containsKey("refold")
                ? Json.object("ready", 1, "runtime", "java " + Runtime.version()) : handled(map(message.get("event")))) + "\n");
            if (!in.ready()) out.flush();
        }
        out.flush();
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> map(Object value) { return (Map<String, Object>) value; }

    static BigDecimal number(Map<String, Object> of, String name) { return (BigDecimal) Objects.requireNonNull(of.get(name), name); }

    /** As little JSON as this needs; your own program has a library for it. */
    static class Json {
        private final String text;
        private int at = 0;

        private Json(String text) { this.text = text; }

        static Object read(String text) { return new Json(text).value(); }

        static Map<String, Object> object(Object... members) {
            Map<String, Object> made = new LinkedHashMap<>();
            for (int i = 0; i < members.length; i += 2) made.put((String) members[i], members[i + 1]);
            return made;
        }

        static String write(Object value) {
            StringJoiner out;
            if (value instanceof Map<?, ?> map) {
                out = new StringJoiner(",", "{", "}");
                map.forEach((name, member) -> out.add(write(name) + ":" + write(member)));
            } else if (value instanceof List<?> list) {
                out = new StringJoiner(",", "[", "]");
                list.forEach(item -> out.add(write(item)));
            } else if (value instanceof String string) {
                out = new StringJoiner("", "\"", "\"");
                string.chars().forEach(c -> out.add(c == '"' || c == '\\' ? "\\" + (char) c
                    : c < ' ' ? String.format("\\u%04x", c) : String.valueOf((char) c)));
            } else if (value instanceof BigDecimal number) {
                return number.signum() == 0 ? "0" : number.stripTrailingZeros().toPlainString();
            } else {
                return String.valueOf(value);
            }
            return out.toString();
        }

        private char next() {
            while (Character.isWhitespace(text.charAt(at))) at++;
            return text.charAt(at);
        }

        private Object value() {
            switch (next()) {
                case '{' -> {
                    Map<String, Object> members = new LinkedHashMap<>();
                    for (at++; next() != '}'; at += next() == ',' ? 1 : 0) {
                        String name = string();
                        next();
                        at++;
                        members.put(name, value());
                    }
                    at++;
                    return members;
                }
                case '[' -> {
                    List<Object> items = new ArrayList<>();
                    for (at++; next() != ']'; at += next() == ',' ? 1 : 0) items.add(value());
                    at++;
                    return items;
                }
                case '"' -> { return string(); }
                default -> {
                    int first = at;
                    while (at < text.length() && ",]} \t".indexOf(text.charAt(at)) < 0) at++;
                    String word = text.substring(first, at);
                    return word.equals("null") ? null : word.equals("true") || word.equals("false")
                        ? (Object) Boolean.valueOf(word) : new BigDecimal(word);
                }
            }
        }

        private String string() {
            next();
            StringBuilder read = new StringBuilder();
            for (at++; text.charAt(at) != '"'; at++) {
                char c = text.charAt(at);
                if (c == '\\') {
                    c = text.charAt(++at);
                    int known = "bfnrt".indexOf(c);
                    if (known >= 0) c = "\b\f\n\r\t".charAt(known);
                    else if (c == 'u') { c = (char) Integer.parseInt(text.substring(at + 1, at + 5), 16); at += 4; }
                }
                read.append(c);
            }
            at++;
            return read.toString();
        }
    }
}
