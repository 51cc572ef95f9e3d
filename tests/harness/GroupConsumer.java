// Consumes records as a member of a group, with Kafka's own client, commits what was consumed, and leaves.
//
//   GroupConsumer BOOTSTRAP GROUP PROTOCOL TOPIC COUNT RESET
//
// Prints partition and offset of each record. PROTOCOL is classic or consumer (KIP-848).

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class GroupConsumer {
    public static void main(String[] arguments) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("group.id", arguments[1]);
        settings.put("group.protocol", arguments[2]);
        settings.put("auto.offset.reset", arguments[5]);
        settings.put("enable.auto.commit", "false");
        settings.put("isolation.level", "read_committed");
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(settings, bytes, bytes)) {
            consumer.subscribe(List.of(arguments[3]));
            int left = Integer.parseInt(arguments[4]);
            Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
            StringBuilder consumed = new StringBuilder();
            while (left > 0) {
                for (var one : consumer.poll(Duration.ofMillis(100))) {
                    if (left > 0) {
                        left--;
                        consumed.append(one.partition()).append(' ').append(one.offset()).append('\n');
                        var at = new TopicPartition(one.topic(), one.partition());
                        next.put(at, new OffsetAndMetadata(one.offset() + 1));
                    }
                }
            }
            if (arguments[5].equals("earliest")) {
                consumer.assignment().forEach(at -> next.putIfAbsent(at, new OffsetAndMetadata(0)));
            }
            consumer.commitSync(next);
            System.out.print(consumed);
        }
    }
}
