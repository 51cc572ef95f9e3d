// Users, rights and quotas of a cluster, with Kafka's own client: librdkafka's wrapper has no calls for them.
//
//   user NAME PASSWORD                                   creates a SCRAM-SHA-512 user
//   unregister NODE                                      removes a stopped node until it starts again
//   quota CLIENT RATE                                    limits what a client id may write, in bytes per second
//   grant|revoke USER RESOURCE PATTERN NAME OPERATION    grants or revokes a right; a word "deny" at the end makes it a
//                                                        rule that denies
//   rules NAME                                           lists the rules about all names that begin with this one
//
// The response to each line is "ok" or an error; to "rules" it is "ok" and the rules. The end of the input ends the process.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

public class ClusterAdmin {
    public static void main(String[] arguments) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                try {
                    String answer = execute(admin, line.split(" "));
                    System.out.println("ok" + answer);
                } catch (Exception error) {
                    System.out.println(error.toString().replace('\n', ' '));
                }
            }
        }
    }

    private static String execute(Admin admin, String[] words) throws Exception {
        if (words[0].equals("user")) {
            ScramCredentialInfo info = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096);
            var user = new UserScramCredentialUpsertion(words[1], info, words[2]);
            admin.alterUserScramCredentials(List.of(user)).all().get();
            return "";
        }
        if (words[0].equals("unregister")) {
            admin.unregisterBroker(Integer.parseInt(words[1])).all().get();
            return "";
        }
        if (words[0].equals("quota")) {
            var entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, words[1]));
            var rate = new ClientQuotaAlteration.Op("producer_byte_rate", Double.parseDouble(words[2]));
            admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(rate)))).all().get();
            return "";
        }
        if (words[0].equals("rules")) {
            var rules = new TreeSet<String>();
            for (AclBinding rule : admin.describeAcls(AclBindingFilter.ANY).values().get()) {
                if (rule.pattern().name().startsWith(words[1])) {
                    var entry = rule.entry();
                    rules.add(String.join(" ", "", entry.permissionType().toString(), entry.principal(),
                        entry.operation().toString(), rule.pattern().resourceType().toString(),
                        rule.pattern().patternType().toString(), rule.pattern().name()));
                }
            }
            return String.join(";", rules);
        }
        var resource = new ResourcePattern(
            ResourceType.fromString(words[2]), words[4], PatternType.valueOf(words[3].toUpperCase()));
        var entry = new AccessControlEntry(
            "User:" + words[1], "*", AclOperation.fromString(words[5].replaceAll("([a-z])([A-Z])", "$1_$2")),
            words.length > 6 ? AclPermissionType.DENY : AclPermissionType.ALLOW);
        AclBinding right = new AclBinding(resource, entry);
        if (words[0].equals("grant")) {
            admin.createAcls(List.of(right)).all().get();
        } else {
            admin.deleteAcls(List.of(right.toFilter())).all().get();
        }
        return "";
    }
}
